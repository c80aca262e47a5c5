-- tools by time
SELECT name, count(*) AS calls, round(sum(duration_ms)) AS total_ms, round(avg(duration_ms)) AS mean_ms,
       round(max(duration_ms)) AS max_ms, step_id AS slowest_step, substr(args, 1, 200) AS slowest_args
FROM tool_calls
WHERE duration_ms IS NOT NULL
GROUP BY name
ORDER BY total_ms DESC
LIMIT 50
