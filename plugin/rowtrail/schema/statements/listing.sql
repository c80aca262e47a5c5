-- name: runs_newest
SELECT * FROM runs
WHERE run_id IN (
    SELECT r.run_id FROM run r LEFT JOIN thread t ON t.id = r.thread
    WHERE (:thread_id IS NULL OR t.thread_id = :thread_id) AND (:before IS NULL OR r.id < :before)
    ORDER BY r.id DESC LIMIT :limit)
ORDER BY started_at DESC, run_id DESC;

-- name: steps_page
SELECT * FROM steps WHERE run_id = :run_id AND seq > :after ORDER BY seq LIMIT :limit;
