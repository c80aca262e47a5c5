-- last state
-- :thread id; without it, the thread of the newest checkpoint
WITH newest AS (
    SELECT thread_id, checkpoint_id, created_at FROM checkpoints
    WHERE checkpoint_ns = '' AND (:thread IS NULL OR thread_id = :thread)
    ORDER BY created_at DESC, step DESC
    LIMIT 1
)
SELECT s.thread_id, n.created_at, s.channel, s.position, s.type, substr(s.value, 1, 1000) AS value
FROM newest AS n JOIN state AS s ON s.thread_id = n.thread_id AND s.checkpoint_id = n.checkpoint_id
WHERE s.checkpoint_ns = ''
ORDER BY s.channel, s.position
LIMIT 200
