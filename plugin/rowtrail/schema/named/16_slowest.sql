-- slowest steps
-- :kind llm, tool or function; :run id
SELECT round(duration_ms) AS ms, step_id, run_id, thread_id, agent, kind, coalesce(name, model) AS name, status,
       started_at,
       substr(CASE kind WHEN 'llm' THEN coalesce(json_extract(input, '$.messages[#-1].content'), input)
                        ELSE input END, 1, 200) AS asked
FROM steps
WHERE (:kind IS NULL OR kind = :kind) AND (:run IS NULL OR run_id = :run) AND duration_ms >= (
    SELECT min(duration_ms) FROM (
        SELECT duration_ms FROM steps
        WHERE (:kind IS NULL OR kind = :kind) AND (:run IS NULL OR run_id = :run) AND duration_ms IS NOT NULL
        ORDER BY duration_ms DESC
        LIMIT 20))
ORDER BY duration_ms DESC, started_at
LIMIT 20
