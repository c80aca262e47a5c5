-- name: checkpoint_place
-- What every write of a checkpoint begins with.
SELECT (SELECT id FROM thread WHERE thread_id = :thread_id) AS thread,
       (SELECT value FROM meta WHERE key = 'generation') AS generation;

-- name: checkpoint_insert
INSERT INTO checkpoint (thread, ns, checkpoint_id, parent_id, run, run_id, step, source, created_at,
                        body, metadata)
VALUES (:thread, :ns, :checkpoint_id, :parent_id, :run, :run_id, :step, :source, :now,
        :body, :metadata)
ON CONFLICT (thread, ns, checkpoint_id) DO NOTHING;

-- name: checkpoint_upsert
INSERT INTO checkpoint (thread, ns, checkpoint_id, parent_id, run, run_id, step, source, created_at,
                        body, metadata)
VALUES (:thread, :ns, :checkpoint_id, :parent_id, :run, :run_id, :step, :source, :now,
        :body, :metadata)
ON CONFLICT (thread, ns, checkpoint_id) DO UPDATE SET
    parent_id = excluded.parent_id, run = coalesce(excluded.run, checkpoint.run), run_id = excluded.run_id,
    step = excluded.step, source = excluded.source, created_at = excluded.created_at,
    body = excluded.body, metadata = excluded.metadata, hidden = 0
RETURNING id;

-- name: checkpoint_stub
INSERT INTO checkpoint (thread, ns, checkpoint_id, created_at) VALUES (:thread, :ns, :checkpoint_id, :now);

-- name: checkpoint_stub_behind
-- A checkpoint of which only writes have arrived, if another has arrived since.
SELECT id FROM checkpoint
WHERE thread = :thread AND ns = :ns AND checkpoint_id = :checkpoint_id AND body IS NULL
  AND id < (SELECT max(id) FROM checkpoint);

-- name: checkpoint_to_front
UPDATE checkpoint SET id = @next(checkpoint) WHERE id = :checkpoint RETURNING id;

-- name: writes_move
UPDATE pending_write SET checkpoint = :target WHERE checkpoint = :source;

-- name: checkpoint_row
SELECT id FROM checkpoint WHERE thread = :thread AND ns = :ns AND checkpoint_id = :checkpoint_id;

-- name: checkpoint_by_id
SELECT c.*, t.thread_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE c.thread = :thread AND c.ns = :ns AND c.checkpoint_id = :checkpoint_id
  AND c.body IS NOT NULL;

-- name: checkpoint_newest
SELECT c.*, t.thread_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE c.thread = :thread AND c.ns = :ns AND c.hidden = 0
  AND c.body IS NOT NULL
ORDER BY c.id DESC LIMIT 1;

-- name: @shown_and_wanted
-- The columns only spare looking into the metadata of other rows.
(:source IS NULL OR c.source = :source)
  AND (:step IS NULL OR c.step IS NULL OR c.step = :step)
  AND c.hidden = 0 AND c.body IS NOT NULL
  AND @has_metadata

-- name: checkpoint_page
-- Newest id first.
SELECT c.*, t.thread_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE c.thread IN (SELECT id FROM thread WHERE :thread_id IS NULL OR thread_id = :thread_id)
  AND (:ns IS NULL OR c.ns = :ns)
  AND (:checkpoint_id IS NULL OR c.checkpoint_id = :checkpoint_id)
  AND c.checkpoint_id < :before
  AND (:after_id IS NULL OR (c.checkpoint_id, c.id) < (:after_id, :after_row))
  AND @shown_and_wanted
ORDER BY c.checkpoint_id DESC, c.id DESC LIMIT :limit;

-- name: checkpoint_page_of_ns
-- The same for one namespace, in the order of its index.
SELECT c.*, :thread_id AS thread_id FROM checkpoint c
WHERE c.thread = (SELECT t.id FROM thread t WHERE t.thread_id = :thread_id) AND c.ns = :ns
  AND (:checkpoint_id IS NULL OR c.checkpoint_id = :checkpoint_id)
  AND c.checkpoint_id < :before
  AND (:after_id IS NULL OR c.checkpoint_id < :after_id)
  AND @shown_and_wanted
ORDER BY c.checkpoint_id DESC LIMIT :limit;

-- name: checkpoint_page_of_run
-- The same for the checkpoints with one run id in their metadata, by its index.
SELECT c.*, t.thread_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE c.run_id = :run_id AND (:thread_id IS NULL OR t.thread_id = :thread_id)
  AND (:ns IS NULL OR c.ns = :ns)
  AND (:checkpoint_id IS NULL OR c.checkpoint_id = :checkpoint_id)
  AND c.checkpoint_id < :before
  AND (:after_id IS NULL OR (c.checkpoint_id, c.id) < (:after_id, :after_row))
  AND @shown_and_wanted
ORDER BY c.checkpoint_id DESC, c.id DESC LIMIT :limit;

-- name: label_row
SELECT id FROM label WHERE text = :text;

-- name: label_insert
INSERT INTO label (text) VALUES (:text);

-- name: channel_value_clear
DELETE FROM channel_value WHERE checkpoint = :checkpoint;

-- name: channel_value_insert
INSERT INTO channel_value (checkpoint, channel, item, list)
VALUES (:checkpoint, :channel, :item, :list);

-- name: channel_values_of
SELECT v.checkpoint, ch.text AS channel, v.list, i.type, i.text, i.data, i.digest
FROM channel_value v JOIN label ch ON ch.id = v.channel LEFT JOIN item i ON i.id = v.item
WHERE v.checkpoint IN (@each(:checkpoints))
  AND (:channel IS NULL OR v.channel = :channel);

-- name: write_insert
INSERT INTO pending_write (checkpoint, task_path, task_id, idx, channel, item, list)
VALUES (:checkpoint, :task_path, :task_id, :idx, :channel, :item, :list)
ON CONFLICT (checkpoint, task_id, idx) DO NOTHING;

-- name: write_replace
INSERT INTO pending_write (checkpoint, task_path, task_id, idx, channel, item, list)
VALUES (:checkpoint, :task_path, :task_id, :idx, :channel, :item, :list)
ON CONFLICT (checkpoint, task_id, idx) DO UPDATE SET task_path = excluded.task_path, channel = excluded.channel,
    item = excluded.item, list = excluded.list;

-- name: writes_of
SELECT w.checkpoint, w.task_id, w.idx, path.text AS task_path, ch.text AS channel,
       w.list, i.type, i.text, i.data, i.digest
FROM pending_write w JOIN label ch ON ch.id = w.channel JOIN label path ON path.id = w.task_path
LEFT JOIN item i ON i.id = w.item
WHERE w.checkpoint IN (@each(:checkpoints))
  AND (:channel IS NULL OR w.channel = :channel);

-- name: lists_pieces
SELECT id, log, pieces FROM list WHERE id IN (@each(:lists));

-- name: log_span
SELECT li.pos, i.type, i.text, i.data, i.digest, i.id
FROM log_item li JOIN item i ON i.id = li.item
WHERE li.log = :log AND li.pos >= :first AND li.pos < :end
ORDER BY li.pos;

-- name: channel_lineage
-- The checkpoints before one, nearest first, up to the first that holds a value of :channel.
WITH RECURSIVE ancestor (id, parent_id, depth, holds) AS (
    SELECT id, parent_id, 0, 0 FROM checkpoint
    WHERE thread = :thread AND ns = :ns AND checkpoint_id = :checkpoint_id
    UNION ALL
    SELECT c.id, c.parent_id, a.depth + 1,
           EXISTS (SELECT 1 FROM channel_value v WHERE v.checkpoint = c.id AND v.channel = :channel)
    FROM ancestor a JOIN checkpoint c
      ON c.thread = :thread AND c.ns = :ns AND c.checkpoint_id = a.parent_id
    WHERE a.holds = 0 AND a.depth < 1000000)
SELECT id, holds FROM ancestor WHERE depth > 0 ORDER BY depth;

-- name: thread_lineage
-- The checkpoints of a thread, with their metadata where the text :key is in it.
SELECT id, ns, checkpoint_id, parent_id, hidden, body IS NOT NULL AS whole,
       CASE WHEN @find(metadata, :key) > 0 THEN metadata END AS metadata
FROM checkpoint WHERE thread = :thread;

-- name: thread_snapshots
SELECT DISTINCT ch.text AS channel
FROM checkpoint c JOIN channel_value v ON v.checkpoint = c.id JOIN item i ON i.id = v.item
JOIN label ch ON ch.id = v.channel
WHERE c.thread = :thread AND i.type = :type;

-- name: thread_values_of
SELECT v.checkpoint, ch.text AS channel
FROM checkpoint c JOIN channel_value v ON v.checkpoint = c.id JOIN label ch ON ch.id = v.channel
WHERE c.thread = :thread AND ch.text IN (@each(:channels));

-- name: thread_checkpoints
SELECT id, ns, checkpoint_id, body IS NOT NULL AS whole FROM checkpoint
WHERE thread = :thread ORDER BY id;

-- name: namespace_newest
SELECT max(id) AS id, ns FROM checkpoint
WHERE thread = :thread AND hidden = 0 AND body IS NOT NULL GROUP BY ns;

-- name: checkpoints_of_run
SELECT id, thread FROM checkpoint WHERE run_id = :run_id
UNION SELECT c.id, c.thread FROM run r JOIN checkpoint c ON c.thread = r.thread AND c.run = r.id
WHERE r.run_id = :run_id;

-- name: checkpoints_delete
DELETE FROM checkpoint WHERE id IN (@each(:checkpoints));

-- name: checkpoints_hide
UPDATE checkpoint SET hidden = 1 WHERE id IN (@each(:checkpoints));

-- name: channel_values_delete
DELETE FROM channel_value WHERE checkpoint IN (@each(:checkpoints));

-- name: writes_delete
DELETE FROM pending_write WHERE checkpoint IN (@each(:checkpoints));

-- name: checkpoint_copy
INSERT INTO checkpoint (thread, ns, checkpoint_id, parent_id, run_id, step, source, created_at,
                        body, metadata, hidden)
SELECT :target, ns, checkpoint_id, parent_id, run_id, step, source, created_at,
       body, metadata, hidden
FROM checkpoint WHERE id = :checkpoint;

-- name: channel_values_copy
INSERT INTO channel_value (checkpoint, channel, item, list)
SELECT :target, channel, item, list FROM channel_value WHERE checkpoint = :checkpoint;

-- name: writes_copy
INSERT INTO pending_write (checkpoint, task_path, task_id, idx, channel, item, list)
SELECT :target, task_path, task_id, idx, channel, item, list
FROM pending_write WHERE checkpoint = :checkpoint;

-- name: thread_steps_delete
-- changes: step (deletes)
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

-- name: thread_waiting_cancel
-- Before the checkpoints of a thread go: its runs that wait for an answer, which nothing could take then. Without a digest
-- of its input, none is continued by the same input sent again: as long as it waited, that would have begun another run.
UPDATE run SET status = 'cancelled', error = :error, input_digest = NULL
WHERE thread = :thread AND status = 'waiting' AND id IN (SELECT c.run FROM checkpoint c WHERE c.thread = :thread);

-- name: generation_grow
-- By two: an odd value says that a sweep runs.
UPDATE meta SET value = CAST(value AS INTEGER) + 2 WHERE key = 'generation';

-- name: newest_checkpoint
SELECT c.step, c.checkpoint_id, c.source FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE t.thread_id = :thread_id AND c.ns = :ns AND c.hidden = 0
  AND c.body IS NOT NULL
ORDER BY c.id DESC LIMIT 1;

-- name: newest_input_step
SELECT c.step FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE t.thread_id = :thread_id AND c.ns = :ns AND c.source = 'input'
ORDER BY c.id DESC LIMIT 1;

-- name: newest_run_id
SELECT c.run_id FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE t.thread_id = :thread_id AND c.ns = '' AND c.hidden = 0
  AND c.body IS NOT NULL
ORDER BY c.id DESC LIMIT 1;

-- name: checkpoint_step
SELECT c.step FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE t.thread_id = :thread_id AND c.ns = :ns AND c.checkpoint_id = :checkpoint_id;
