-- requests made again
SELECT kind, name, count(*) AS times, count(DISTINCT run_id) AS runs,
       sum(input_tokens) + sum(output_tokens) - max(input_tokens + output_tokens) AS tokens_again,
       sum(cost_usd) - max(cost_usd) AS cost_usd_again, max(started_at) AS last_at, step_id AS last_step,
       substr(CASE kind WHEN 'llm' THEN coalesce(json_extract(input, '$.messages[#-1].content'), input)
                        ELSE input END, 1, 200) AS asked
FROM steps
WHERE status IN ('done', 'failed', 'superseded')
GROUP BY kind, name, fingerprint
HAVING count(*) > 1
ORDER BY tokens_again DESC, times DESC
LIMIT 50
