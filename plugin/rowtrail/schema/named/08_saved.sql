-- by replay
SELECT p.run_id, r.status, count(*) AS replays, count(DISTINCT p.attempt_id) AS attempts,
       sum(p.saved_input_tokens) AS saved_input_tokens, sum(p.saved_output_tokens) AS saved_output_tokens,
       sum(p.saved_usd) AS saved_usd, max(p.at) AS last_at
FROM replays AS p JOIN runs AS r ON r.run_id = p.run_id
GROUP BY p.run_id
ORDER BY last_at DESC
LIMIT 50
