-- in doubt, or without result
SELECT started_at, run_id, step_id, kind, name, effect, substr(input, 1, 300) AS args, idempotency_key
FROM steps
WHERE status = 'in_doubt' OR (status = 'done' AND effect = 'write' AND output IS NULL)
ORDER BY started_at DESC
LIMIT 50
