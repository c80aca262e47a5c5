-- what failed and why
-- :name of a tool, model or function
SELECT kind, name, count(*) AS times, max(started_at) AS last_at, run_id AS last_run, step_id AS last_step,
       substr(error, 1, 300) AS error, substr(CASE kind WHEN 'llm' THEN model ELSE input END, 1, 200) AS asked
FROM steps
WHERE status = 'failed' AND (:name IS NULL OR name = :name)
GROUP BY kind, name, substr(error, 1, 300)
ORDER BY last_at DESC
LIMIT 50
