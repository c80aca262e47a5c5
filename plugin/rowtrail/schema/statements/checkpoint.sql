-- name: checkpoint_upsert
INSERT INTO checkpoint (thread, ns, checkpoint_id, parent_id, run, run_id, step, source, created_at,
                        body, body_data, metadata)
VALUES (:thread, :ns, :checkpoint_id, :parent_id, :run, :run_id, :step, :source, :now,
        :body, :body_data, :metadata)
ON CONFLICT (thread, ns, checkpoint_id) DO UPDATE SET
    parent_id = excluded.parent_id, run = coalesce(excluded.run, run), run_id = excluded.run_id,
    step = excluded.step, source = excluded.source, created_at = excluded.created_at,
    body = excluded.body, body_data = excluded.body_data, metadata = excluded.metadata, hidden = 0
RETURNING id;

-- name: checkpoint_stub
INSERT INTO checkpoint (thread, ns, checkpoint_id, created_at) VALUES (:thread, :ns, :checkpoint_id, :now);

-- name: checkpoint_row
SELECT id FROM checkpoint WHERE thread = :thread AND ns = :ns AND checkpoint_id = :checkpoint_id;

-- name: checkpoint_by_id
SELECT c.*, t.thread_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE c.thread = :thread AND c.ns = :ns AND c.checkpoint_id = :checkpoint_id
  AND (c.body IS NOT NULL OR c.body_data IS NOT NULL);

-- name: checkpoint_newest
SELECT c.*, t.thread_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE c.thread = :thread AND c.ns = :ns AND c.hidden = 0
  AND (c.body IS NOT NULL OR c.body_data IS NOT NULL)
ORDER BY c.id DESC LIMIT 1;

-- name: checkpoint_page
-- Newest id first. Each key of :filter must be in the metadata with the same value.
SELECT c.*, t.thread_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE (:thread_id IS NULL OR t.thread_id = :thread_id)
  AND (:ns IS NULL OR c.ns = :ns)
  AND (:checkpoint_id IS NULL OR c.checkpoint_id = :checkpoint_id)
  AND (:before IS NULL OR c.checkpoint_id < :before)
  AND (:after_id IS NULL OR (c.checkpoint_id, c.id) < (:after_id, :after_row))
  AND c.hidden = 0 AND (c.body IS NOT NULL OR c.body_data IS NOT NULL)
  AND NOT EXISTS (
      SELECT 1 FROM json_each(:filter) f
      WHERE NOT EXISTS (
          SELECT 1 FROM json_each(c.metadata) m
          WHERE m.key = f.key AND m.value IS f.value
            AND (m.type = f.type OR (m.type IN ('integer', 'real') AND f.type IN ('integer', 'real')))))
ORDER BY c.checkpoint_id DESC, c.id DESC LIMIT :limit;

-- name: channel_row
SELECT id FROM channel WHERE name = :channel;

-- name: channel_insert
INSERT INTO channel (name) VALUES (:channel);

-- name: channel_value_clear
DELETE FROM channel_value WHERE checkpoint = :checkpoint;

-- name: channel_value_insert
INSERT INTO channel_value (checkpoint, channel, item, list)
VALUES (:checkpoint, :channel, :item, :list);

-- name: channel_values_of
SELECT v.checkpoint, ch.name AS channel, v.list, i.type, i.text, i.data
FROM channel_value v JOIN channel ch ON ch.id = v.channel LEFT JOIN item i ON i.id = v.item
WHERE v.checkpoint IN (SELECT value FROM json_each(:checkpoints));

-- name: write_insert
INSERT INTO pending_write (checkpoint, task_path, task_id, idx, channel, item, list)
VALUES (:checkpoint, :task_path, :task_id, :idx, :channel, :item, :list)
ON CONFLICT (checkpoint, task_id, idx) DO NOTHING;

-- name: write_replace
INSERT OR REPLACE INTO pending_write (checkpoint, task_path, task_id, idx, channel, item, list)
VALUES (:checkpoint, :task_path, :task_id, :idx, :channel, :item, :list);

-- name: writes_of
-- In the order in which one superstep applies them.
SELECT w.checkpoint, w.task_id, w.task_path, w.idx, ch.name AS channel, w.list, i.type, i.text, i.data
FROM pending_write w JOIN channel ch ON ch.id = w.channel LEFT JOIN item i ON i.id = w.item
WHERE w.checkpoint IN (SELECT value FROM json_each(:checkpoints))
ORDER BY w.checkpoint, w.task_path, w.task_id, w.idx;

-- name: lists_of
SELECT li.list, i.type, i.text, i.data
FROM json_each(:lists) wanted JOIN list_item li ON li.list = wanted.value
JOIN item i ON i.id = li.item
ORDER BY li.list, li.position;

-- name: ancestors
-- A checkpoint and those before it, nearest first.
WITH RECURSIVE ancestor (id, parent_id, thread, ns, depth) AS (
    SELECT id, parent_id, thread, ns, 0 FROM checkpoint
    WHERE thread = :thread AND ns = :ns AND checkpoint_id = :checkpoint_id
    UNION ALL
    SELECT c.id, c.parent_id, c.thread, c.ns, a.depth + 1
    FROM ancestor a JOIN checkpoint c
      ON c.thread = a.thread AND c.ns = a.ns AND c.checkpoint_id = a.parent_id)
SELECT id FROM ancestor ORDER BY depth;

-- name: checkpoints_with_channel
SELECT v.checkpoint FROM channel_value v JOIN channel ch ON ch.id = v.channel
WHERE ch.name = :channel AND v.checkpoint IN (SELECT value FROM json_each(:checkpoints));

-- name: thread_checkpoints
SELECT id, ns, checkpoint_id, metadata, hidden, run FROM checkpoint
WHERE thread = :thread ORDER BY id;

-- name: namespace_newest
SELECT max(id) AS id, ns FROM checkpoint
WHERE thread = :thread AND hidden = 0 AND (body IS NOT NULL OR body_data IS NOT NULL) GROUP BY ns;

-- name: checkpoints_of_run
SELECT id FROM checkpoint WHERE run_id = :run_id
UNION SELECT c.id FROM checkpoint c JOIN run r ON r.id = c.run WHERE r.run_id = :run_id;

-- name: checkpoints_delete
DELETE FROM checkpoint WHERE id IN (SELECT value FROM json_each(:checkpoints));

-- name: checkpoints_hide
UPDATE checkpoint SET hidden = 1 WHERE id IN (SELECT value FROM json_each(:checkpoints));

-- name: channel_values_delete
DELETE FROM channel_value WHERE checkpoint IN (SELECT value FROM json_each(:checkpoints));

-- name: writes_delete
DELETE FROM pending_write WHERE checkpoint IN (SELECT value FROM json_each(:checkpoints));

-- name: checkpoint_copy
INSERT INTO checkpoint (thread, ns, checkpoint_id, parent_id, run_id, step, source, created_at,
                        body, body_data, metadata, hidden)
SELECT :target, ns, checkpoint_id, parent_id, run_id, step, source, created_at,
       body, body_data, metadata, hidden
FROM checkpoint WHERE id = :checkpoint;

-- name: channel_values_copy
INSERT INTO channel_value (checkpoint, channel, item, list)
SELECT :target, channel, item, list FROM channel_value WHERE checkpoint = :checkpoint;

-- name: writes_copy
INSERT INTO pending_write (checkpoint, task_path, task_id, idx, channel, item, list)
SELECT :target, task_path, task_id, idx, channel, item, list
FROM pending_write WHERE checkpoint = :checkpoint;

-- name: thread_steps_delete
DELETE FROM step WHERE scope IN (
    SELECT sc.id FROM scope sc JOIN run r ON r.id = sc.run WHERE r.thread = :thread);

-- name: thread_replays_delete
DELETE FROM replay WHERE attempt IN (
    SELECT a.id FROM attempt a JOIN run r ON r.id = a.run WHERE r.thread = :thread);

-- name: thread_scopes_delete
DELETE FROM scope WHERE run IN (SELECT id FROM run WHERE thread = :thread);

-- name: thread_attempts_delete
DELETE FROM attempt WHERE run IN (SELECT id FROM run WHERE thread = :thread);

-- name: thread_runs_delete
DELETE FROM run WHERE thread = :thread;

-- name: thread_delete
DELETE FROM thread WHERE id = :thread;

-- name: generation_grow
UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation';

-- name: newest_step_and_id
SELECT c.step, c.checkpoint_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE t.thread_id = :thread_id AND c.ns = :ns AND c.hidden = 0
  AND (c.body IS NOT NULL OR c.body_data IS NOT NULL)
ORDER BY c.id DESC LIMIT 1;

-- name: newest_input_step
SELECT c.step FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE t.thread_id = :thread_id AND c.ns = :ns AND c.source = 'input'
ORDER BY c.id DESC LIMIT 1;

-- name: newest_run_id
SELECT c.run_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE t.thread_id = :thread_id AND c.ns = '' AND c.hidden = 0
  AND (c.body IS NOT NULL OR c.body_data IS NOT NULL)
ORDER BY c.id DESC LIMIT 1;
