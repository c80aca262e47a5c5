-- what may or may not have happened
SELECT started_at, run_id, step_id, kind, name, effect, substr(input, 1, 300) AS args, idempotency_key
FROM steps
WHERE status = 'in_doubt'
ORDER BY started_at DESC
LIMIT 50
