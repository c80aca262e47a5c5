-- Rows of a damaged journal, copied into a new one as they are.

-- name: item_salvage
INSERT INTO item (id, digest, type, text, data)
VALUES (:id, :digest, :type, :text, :data);

-- name: log_salvage
INSERT INTO log (id, newest, owner)
VALUES (:id, :newest, :owner);

-- name: log_item_salvage
INSERT INTO log_item (log, pos, item)
VALUES (:log, :pos, :item);

-- name: list_salvage
INSERT INTO list (id, log, length, pieces)
VALUES (:id, :log, :length, :pieces);

-- name: thread_salvage
INSERT INTO thread (id, thread_id, created_at)
VALUES (:id, :thread_id, :created_at);

-- name: process_salvage
INSERT INTO process (id, pid, pid_start, boot_id, pid_space, host, last_seen_at)
VALUES (:id, :pid, :pid_start, :boot_id, :pid_space, :host, :last_seen_at);

-- name: label_salvage
INSERT INTO label (id, text)
VALUES (:id, :text);

-- name: run_salvage
INSERT INTO run (id, run_id, thread, agent, status, done_by, nonce, keeps_doubts, started_at, ended_at, input_digest, base_step, error,
    steps, llm_calls, tool_calls, input_tokens, output_tokens, saved_tokens, cost_usd, saved_usd)
VALUES (:id, :run_id, :thread, :agent, :status, :done_by, :nonce, :keeps_doubts, :started_at, :ended_at, :input_digest, :base_step, :error,
    :steps, :llm_calls, :tool_calls, :input_tokens, :output_tokens, :saved_tokens, :cost_usd, :saved_usd);

-- name: attempt_salvage
INSERT INTO attempt (id, run, n, process, started_at, ended_at, outcome, left_open, answer, head, head_step)
VALUES (:id, :run, :n, :process, :started_at, :ended_at, :outcome, :left_open, :answer, :head, :head_step);

-- name: scope_salvage
INSERT INTO scope (id, run, name, node, agent, key, finished)
VALUES (:id, :run, :name, :node, :agent, :key, :finished);

-- name: step_salvage
-- changes: step (adds)
INSERT INTO step (id, scope, attempt, parent, seq, kind, name, status, reason_code, reason, aside, effect, fingerprint, n,
    key_n, key_scope, started_at, duration_us, arguments, input, prompt, output, seal, error, failure, ended_seq,
    late_output, late_error, twin, masked, object_free, tool_call_id, model, provider,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, tokens_source,
    cost_usd, interrupts, asked, asked_in, answers)
VALUES (:id, :scope, :attempt, :parent, :seq, :kind, :name, :status, :reason_code, :reason, :aside, :effect, :fingerprint, :n,
    :key_n, :key_scope, :started_at, :duration_us, :arguments, :input, :prompt, :output, :seal, :error, :failure, :ended_seq,
    :late_output, :late_error, :twin, :masked, :object_free, :tool_call_id, :model,
    :provider, :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens, :reasoning_tokens,
    :tokens_source, :cost_usd, :interrupts, :asked, :asked_in, :answers);

-- name: question_salvage
INSERT INTO question (id, thread, run, scope, place, n, step, kind, asked_at, question, answered_at, answer)
VALUES (:id, :thread, :run, :scope, :place, :n, :step, :kind, :asked_at, :question, :answered_at, :answer);

-- name: replay_salvage
INSERT INTO replay (id, step, attempt, at, saved_input_tokens, saved_output_tokens, saved_usd)
VALUES (:id, :step, :attempt, :at, :saved_input_tokens, :saved_output_tokens, :saved_usd);

-- name: spend_day_salvage
INSERT INTO spend_day (day, model, calls, input_tokens, output_tokens, cost_usd, saved_tokens, saved_usd)
VALUES (:day, :model, :calls, :input_tokens, :output_tokens, :cost_usd, :saved_tokens, :saved_usd);

-- name: checkpoint_salvage
INSERT INTO checkpoint (id, thread, ns, checkpoint_id, parent_id, run, run_id, step, source, created_at, body,
    metadata, hidden)
VALUES (:id, :thread, :ns, :checkpoint_id, :parent_id, :run, :run_id, :step, :source, :created_at, :body,
    :metadata, :hidden);

-- name: channel_value_salvage
INSERT INTO channel_value (checkpoint, channel, item, list)
VALUES (:checkpoint, :channel, :item, :list);

-- name: pending_write_salvage
INSERT INTO pending_write (checkpoint, task_id, idx, task_path, channel, item, list)
VALUES (:checkpoint, :task_id, :idx, :task_path, :channel, :item, :list);

-- Rows that their index does not know as they are: the row or the index is damaged.

-- name: thread_suspects
SELECT t.id FROM thread t NOT INDEXED WHERE NOT EXISTS (
    SELECT 1 FROM thread x INDEXED BY sqlite_autoindex_thread_1 WHERE x.thread_id = t.thread_id AND x.id = t.id);

-- name: label_suspects
SELECT t.id FROM label t NOT INDEXED WHERE NOT EXISTS (
    SELECT 1 FROM label x INDEXED BY sqlite_autoindex_label_1 WHERE x.text = t.text AND x.id = t.id);

-- name: run_suspects
SELECT t.id FROM run t NOT INDEXED WHERE NOT EXISTS (
    SELECT 1 FROM run x INDEXED BY sqlite_autoindex_run_1 WHERE x.run_id = t.run_id AND x.id = t.id);

-- name: scope_suspects
SELECT t.id FROM scope t NOT INDEXED WHERE NOT EXISTS (
    SELECT 1 FROM scope x INDEXED BY sqlite_autoindex_scope_1 WHERE x.run = t.run AND x.name = t.name AND x.id = t.id);

-- name: step_suspects
SELECT t.id FROM step t NOT INDEXED WHERE NOT EXISTS (
    SELECT 1 FROM step x INDEXED BY step_key WHERE x.scope = t.scope AND x.fingerprint = t.fingerprint AND x.n = t.n AND x.id = t.id);

-- name: item_suspects
SELECT t.id FROM item t NOT INDEXED WHERE t.digest IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM item x INDEXED BY item_digest WHERE x.digest = t.digest AND x.id = t.id AND x.digest IS NOT NULL);

-- name: checkpoint_suspects
SELECT t.id FROM checkpoint t NOT INDEXED WHERE NOT EXISTS (
    SELECT 1 FROM checkpoint x INDEXED BY sqlite_autoindex_checkpoint_1 WHERE x.thread = t.thread AND x.ns = t.ns AND x.checkpoint_id = t.checkpoint_id AND x.id = t.id);

-- What the indexes still tell of rows that are lost.

-- name: thread_spare
SELECT id, thread_id, 0 AS created_at FROM thread INDEXED BY sqlite_autoindex_thread_1;

-- name: label_spare
SELECT id, text FROM label INDEXED BY sqlite_autoindex_label_1;

-- name: run_spare
SELECT r.id, r.run_id, t.thread, NULL AS agent, 'crashed' AS status, NULL AS done_by,
       lower(hex(randomblob(8))) AS nonce, 0 AS keeps_doubts, 0 AS started_at, 0 AS ended_at,
       NULL AS input_digest, NULL AS base_step, 'its row was lost' AS error, 0 AS steps, 0 AS llm_calls,
       0 AS tool_calls, 0 AS input_tokens, 0 AS output_tokens, 0 AS saved_tokens, NULL AS cost_usd,
       NULL AS saved_usd
FROM run r INDEXED BY sqlite_autoindex_run_1
LEFT JOIN (SELECT id, thread FROM run INDEXED BY run_thread WHERE thread IS NOT NULL) t ON t.id = r.id;

-- name: scope_spare
SELECT id, run, name, NULL AS node, NULL AS agent, NULL AS key, 0 AS finished FROM scope INDEXED BY sqlite_autoindex_scope_1;

-- name: step_spare
SELECT id, scope, fingerprint, n FROM step INDEXED BY step_key;

-- name: spend_day_all
SELECT * FROM spend_day;

-- name: spend_raise
INSERT INTO spend_day (day, model, calls, input_tokens, output_tokens, cost_usd)
VALUES (:day, :model, :calls, :input_tokens, :output_tokens, :cost_usd)
ON CONFLICT (day, model) DO UPDATE SET calls = max(calls, excluded.calls),
    input_tokens = max(input_tokens, excluded.input_tokens),
    output_tokens = max(output_tokens, excluded.output_tokens),
    cost_usd = CASE WHEN cost_usd IS NULL OR cost_usd < excluded.cost_usd THEN excluded.cost_usd
                    ELSE cost_usd END;

-- name: runs_all
SELECT id, run_id FROM run ORDER BY id;

-- name: run_recount
UPDATE run SET steps = :steps, llm_calls = :llm_calls, tool_calls = :tool_calls,
    input_tokens = :input_tokens, output_tokens = :output_tokens, cost_usd = :cost_usd
WHERE id = :run;

-- name: steps_in_order
SELECT s.id, s.seq FROM scope sc JOIN step s ON s.scope = sc.id WHERE sc.run = :run ORDER BY s.seq, s.id;

-- name: step_renumber
-- changes: step (one)
UPDATE step SET seq = :seq WHERE id = :id;

-- name: runs_settle
-- No process works on the new file: a run is what its attempts came to.
UPDATE run SET status = CASE status WHEN 'running' THEN 'crashed' ELSE status END,
    ended_at = coalesce(ended_at, started_at)
WHERE status = 'running' OR ended_at IS NULL;

-- name: attempts_settle
UPDATE attempt SET outcome = coalesce(outcome, 'crashed'), ended_at = coalesce(ended_at, started_at), left_open = 0
WHERE ended_at IS NULL OR outcome IS NULL OR left_open = 1;

-- name: steps_settle
-- changes: step (many)
UPDATE step SET status = CASE kind WHEN 'llm' THEN 'failed' ELSE 'in_doubt' END, output = NULL,
    error = CASE kind WHEN 'llm' THEN 'ended before its answer was recorded' ELSE error END,
    aside = CASE kind WHEN 'llm' THEN 'crashed' ELSE aside END
WHERE status = 'running';

-- name: parents_clear
-- changes: step (many)
UPDATE step SET parent = NULL
WHERE parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM step p WHERE p.id = step.parent);

-- name: calls_unanswered
-- Tool calls that a model asked for in a run, and that no step of the run answers.
SELECT DISTINCT json_extract(c.value, '$.id') AS tool_call_id
FROM scope sc JOIN step s ON s.scope = sc.id JOIN item i ON i.id = s.output, json_each(i.text, '$.tool_calls') c
WHERE sc.run = :run AND s.kind = 'llm' AND json_valid(i.text) AND json_extract(c.value, '$.id') IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM scope c2 JOIN step s2 ON s2.scope = c2.id
                  WHERE c2.run = :run AND s2.tool_call_id = json_extract(c.value, '$.id'))
LIMIT 1000;

-- name: step_has_key
SELECT 1 FROM step WHERE id = :id AND scope = :scope AND fingerprint = :fingerprint AND n = :n;

-- name: attempt_next
SELECT coalesce(max(n), 0) + 1 FROM attempt WHERE run = :run;
