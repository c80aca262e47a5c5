-- costliest runs
-- :thread id; :agent that made the calls. Where no cost is known, those with most tokens come first
WITH made AS (
    SELECT run_id, thread_id, agent, model, step_id, cost_usd, input_tokens, output_tokens,
           row_number() OVER (PARTITION BY run_id ORDER BY coalesce(cost_usd, 0) DESC,
                              coalesce(input_tokens, 0) + coalesce(output_tokens, 0) DESC) AS n
    FROM llm_calls
    WHERE (:thread IS NULL OR thread_id = :thread) AND (:agent IS NULL OR agent = :agent)
)
SELECT run_id, thread_id, sum(cost_usd) AS cost_usd, count(*) AS calls, sum(input_tokens) AS input_tokens,
       sum(output_tokens) AS output_tokens, max(CASE n WHEN 1 THEN agent END) AS costliest_agent,
       max(CASE n WHEN 1 THEN model END) AS costliest_model, max(CASE n WHEN 1 THEN step_id END) AS costliest_step
FROM made
GROUP BY run_id
ORDER BY sum(cost_usd) DESC, sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) DESC
LIMIT 20
