-- what waits for a person
-- :thread id that asked; without it, all threads
SELECT q.asked_at, q.thread_id, q.run_id, r.agent, q.node, q.kind, substr(q.question, 1, 400) AS question,
       q.question_id, q.step_id
FROM questions AS q LEFT JOIN runs AS r ON r.run_id = q.run_id
WHERE q.answered_at IS NULL AND (:thread IS NULL OR q.thread_id = :thread)
ORDER BY q.asked_at
LIMIT 50
