-- name: sweep_begin
-- Odd while a sweep runs: then every reuse of a stored item is noted in `touched`.
UPDATE meta SET value = (CAST(value AS INTEGER) + 1) | 1 WHERE key = 'generation';

-- name: sweep_end
UPDATE meta SET value = CAST(value AS INTEGER) + 1 + (CAST(value AS INTEGER) & 1 = 0)
WHERE key = 'generation';

-- name: touched_clear
DELETE FROM touched;

-- name: item_touch
INSERT INTO touched (item) VALUES (:item) ON CONFLICT (item) DO NOTHING;

-- name: sweeper
SELECT p.id AS process, p.pid, p.pid_start, p.boot_id, p.pid_space, p.host, p.last_seen_at
FROM meta m JOIN process p ON p.id = CAST(m.value AS INTEGER) WHERE m.key = 'sweeper';

-- name: idle_threads
-- Threads by their last activity; those with an attempt under way are left out.
SELECT t.id, t.thread_id,
       @greatest(t.created_at,
           coalesce((SELECT max(coalesce(r.ended_at, r.started_at)) FROM run r WHERE r.thread = t.id), 0),
           coalesce((SELECT max(c.created_at) FROM checkpoint c WHERE c.thread = t.id), 0)) AS last_at
FROM thread t
WHERE (:thread_id IS NULL OR t.thread_id = :thread_id)
  AND NOT EXISTS (SELECT 1 FROM run r JOIN attempt a ON a.run = r.id
                  WHERE r.thread = t.id AND a.ended_at IS NULL);

-- name: loose_runs
-- Ended runs that belong to no thread.
SELECT r.id FROM run r
WHERE r.thread IS NULL AND coalesce(r.ended_at, r.started_at) <= :cutoff
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.run = r.id AND a.ended_at IS NULL);

-- name: runs_of_thread
SELECT id FROM run WHERE thread = :thread;

-- name: checkpoints_beyond
-- All but the newest :keep of each namespace, as far as they are older than :cutoff.
SELECT id FROM (
    SELECT id, created_at, row_number() OVER (PARTITION BY ns ORDER BY id DESC) AS age
    FROM checkpoint
    WHERE thread = :thread AND hidden = 0 AND body IS NOT NULL)
WHERE age > :keep AND (:cutoff IS NULL OR created_at <= :cutoff);

-- name: checkpoints_hidden
SELECT id FROM checkpoint WHERE thread = :thread AND hidden = 1;

-- name: checkpoint_ids_of_thread
SELECT id FROM checkpoint WHERE thread = :thread;

-- name: steps_of_run
SELECT s.id FROM scope sc JOIN step s ON s.scope = sc.id WHERE sc.run = :run;

-- name: steps_delete
-- changes: step (deletes)
DELETE FROM step WHERE id IN (@each(:steps));

-- name: replays_delete
DELETE FROM replay WHERE step IN (@each(:steps));

-- name: scopes_of_run_delete
DELETE FROM scope WHERE run = :run;

-- name: replays_of_run_delete
DELETE FROM replay WHERE attempt IN (SELECT id FROM attempt WHERE run = :run);

-- name: attempts_of_run_delete
DELETE FROM attempt WHERE run = :run;

-- name: run_delete
DELETE FROM run WHERE id = :run;

-- name: thread_delete_bare
DELETE FROM thread WHERE id = :thread AND NOT EXISTS (SELECT 1 FROM run r WHERE r.thread = :thread)
    AND NOT EXISTS (SELECT 1 FROM checkpoint c WHERE c.thread = :thread);

-- name: run_is_busy
SELECT 1 FROM attempt WHERE run = :run AND ended_at IS NULL;

-- name: values_refer
SELECT checkpoint AS owner, item, list FROM channel_value;

-- name: writes_refer
SELECT checkpoint AS owner, item, list FROM pending_write;

-- name: steps_refer
SELECT s.id AS owner, s.input, s.output, s.prompt FROM step s;

-- name: lists_all
SELECT id, log, pieces FROM list;

-- name: log_items_all
SELECT log, pos, item FROM log_item;

-- name: items_all
SELECT id, coalesce(@bytes(text), 0) + coalesce(length(data), 0) AS bytes FROM item;

-- name: lists_delete
DELETE FROM list WHERE id IN (@each(:lists));

-- name: log_item_delete
DELETE FROM log_item WHERE log = :log AND pos = :pos;

-- name: items_delete
DELETE FROM item WHERE id IN (@each(:items))
    AND id NOT IN (SELECT item FROM touched);

-- name: logs_delete_empty
DELETE FROM log WHERE NOT EXISTS (SELECT 1 FROM log_item li WHERE li.log = log.id)
    AND NOT EXISTS (SELECT 1 FROM list l WHERE l.log = log.id);
