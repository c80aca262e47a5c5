-- newest runs
-- :status, :thread and :agent that they have; :before a started_at, for older ones
SELECT run_id, thread_id, agent, status, started_at, ended_at, attempts, steps, in_doubt, input_tokens, output_tokens,
       saved_tokens, cost_usd, substr(error, 1, 200) AS error
FROM runs
WHERE (:status IS NULL OR status = :status) AND (:thread IS NULL OR thread_id = :thread)
  AND (:agent IS NULL OR agent = :agent) AND (:before IS NULL OR started_at < :before)
ORDER BY started_at DESC, run_id DESC
LIMIT 50
