-- name: thread_row
SELECT id FROM thread WHERE thread_id = :thread_id;

-- name: thread_insert
INSERT INTO thread (thread_id, created_at) VALUES (:thread_id, :now);

-- name: open_attempts
SELECT a.id, a.run, p.id AS process, p.pid, p.pid_start, p.boot_id, p.pid_space, p.host, p.last_seen_at
FROM attempt a JOIN process p ON p.id = a.process
WHERE a.ended_at IS NULL;

-- name: attempt_crash
UPDATE attempt SET ended_at = :at, outcome = 'crashed' WHERE id = :attempt AND ended_at IS NULL;

-- name: step_crash
UPDATE step
SET status = CASE kind WHEN 'llm' THEN 'failed' ELSE 'in_doubt' END,
    error = CASE kind WHEN 'llm' THEN 'ended before its answer was recorded' ELSE error END
WHERE id = :id AND attempt = :attempt AND status = 'running';

-- name: steps_running
-- Reads the steps of the whole run: an index of the running ones would cost every step two writes.
SELECT s.id FROM attempt a JOIN scope sc ON sc.run = a.run JOIN step s ON s.scope = sc.id
WHERE a.id = :attempt AND s.attempt = :attempt AND s.status = 'running';

-- name: attempt_last_step_at
-- When an attempt was last seen at work: the heartbeat of its process is up to two seconds older.
SELECT max(s.started_at + coalesce(s.duration_us, 0) / 1000)
FROM attempt a JOIN scope sc ON sc.run = a.run JOIN step s ON s.scope = sc.id
WHERE a.id = :attempt AND s.attempt = :attempt;

-- name: run_crash
UPDATE run SET status = 'crashed', ended_at = :at
WHERE id = :run AND status = 'running'
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.run = :run AND a.ended_at IS NULL);

-- name: run_by_id
SELECT * FROM run WHERE run_id = :run_id;

-- name: run_newest_of_thread
SELECT * FROM run WHERE thread = :thread ORDER BY id DESC LIMIT 1;

-- name: run_insert
INSERT INTO run (run_id, thread, agent, status, started_at, input_digest, base_step)
VALUES (:run_id, :thread, :agent, 'running', :now, :input_digest, :base_step);

-- name: run_reopen
UPDATE run SET status = 'running', ended_at = NULL, error = NULL,
    base_step = coalesce(:base_step, base_step), agent = coalesce(agent, :agent),
    thread = coalesce(thread, :thread)
WHERE id = :run;

-- name: run_end
UPDATE run SET status = :status, ended_at = :now, error = :error
WHERE id = :run AND NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.run = :run AND a.ended_at IS NULL AND a.id <> :attempt);

-- name: run_delete_empty
DELETE FROM run
WHERE id = :run AND steps = 0
  AND NOT EXISTS (SELECT 1 FROM checkpoint c WHERE c.run = :run)
  AND (SELECT count(*) FROM attempt a WHERE a.run = :run) = 1;

-- name: attempt_delete
DELETE FROM attempt WHERE id = :attempt;

-- name: attempt_insert
INSERT INTO attempt (run, n, process, started_at)
SELECT :run, coalesce(max(n), 0) + 1, :process, :now FROM attempt WHERE run = :run;

-- name: attempt_number
SELECT n FROM attempt WHERE id = :attempt;

-- name: attempt_end
UPDATE attempt SET ended_at = :now, outcome = :outcome WHERE id = :attempt;

-- name: attempt_owner
SELECT p.id AS process, p.pid, p.pid_start, p.boot_id, p.pid_space, p.host, p.last_seen_at, a.ended_at
FROM attempt a JOIN process p ON p.id = a.process WHERE a.id = :attempt;

-- name: run_live_attempts
SELECT a.id AS attempt, p.id AS process, p.pid, p.host
FROM attempt a JOIN process p ON p.id = a.process
WHERE a.run = :run AND a.ended_at IS NULL AND a.id <> :me;

-- name: scope_row
SELECT id FROM scope WHERE run = :run AND name = :name;

-- name: scope_insert
INSERT INTO scope (run, name, node) VALUES (:run, :name, :node);

-- name: scope_steps
-- What is recorded in one scope, with the results, oldest first.
SELECT s.id, s.scope, s.attempt, s.kind, s.name, s.status, s.reason, s.fingerprint, s.n,
       s.tool_call_id, s.output, s.seal, s.input_tokens, s.output_tokens, s.cost_usd, s.interrupts, s.asked, s.effect,
       (SELECT q.id FROM step q WHERE q.scope = s.scope AND q.fingerprint = s.fingerprint AND q.n = s.n
          AND q.tool_call_id IS s.tool_call_id AND q.asked ORDER BY q.asked DESC LIMIT 1) AS last_asked,
       i.type AS output_type, i.text AS output_text, i.data AS output_data
FROM step s LEFT JOIN item i ON i.id = s.output
WHERE s.scope = :scope ORDER BY s.id;

-- name: step_candidates
SELECT s.id, s.scope, s.attempt, s.kind, s.name, s.status, s.reason, s.fingerprint, s.n,
       s.tool_call_id, s.output, s.seal, s.input_tokens, s.output_tokens, s.cost_usd, s.interrupts, s.asked, s.effect,
       (SELECT q.id FROM step q WHERE q.scope = s.scope AND q.fingerprint = s.fingerprint AND q.n = s.n
          AND q.tool_call_id IS s.tool_call_id AND q.asked ORDER BY q.asked DESC LIMIT 1) AS last_asked,
       i.type AS output_type, i.text AS output_text, i.data AS output_data
FROM step s LEFT JOIN item i ON i.id = s.output
WHERE s.scope = :scope AND s.fingerprint = :fingerprint AND s.n = :n
  AND s.tool_call_id IS :tool_call_id
ORDER BY s.id;

-- name: step_elsewhere
-- The newest runs of the thread that recorded this request, for replay on demand. People answered
-- those runs, not this one.
SELECT s.id, s.scope, s.attempt, s.kind, s.name, s.status, s.reason, s.fingerprint, s.n,
       s.tool_call_id, s.output, s.seal, s.input_tokens, s.output_tokens, s.cost_usd, 0 AS interrupts, 0 AS asked, s.effect,
       NULL AS last_asked,
       i.type AS output_type, i.text AS output_text, i.data AS output_data
FROM run r JOIN scope sc ON sc.run = r.id JOIN step s ON s.scope = sc.id AND s.fingerprint = :fingerprint
LEFT JOIN item i ON i.id = s.output
WHERE r.thread = :thread AND r.id <> :run AND s.status = 'done' AND s.tool_call_id IS :tool_call_id
ORDER BY r.id DESC, s.id;

-- name: step_by_text_id
-- By its id as the views show it; other text finds nothing, however long.
SELECT s.*, sc.run, sc.name AS scope_name FROM step s JOIN scope sc ON sc.id = s.scope
WHERE s.id = CAST(:id AS INTEGER) AND CAST(s.id AS TEXT) = :id;

-- name: step_status
SELECT status, attempt FROM step WHERE id = :id;

-- name: run_count_step
UPDATE run SET steps = steps + 1,
    llm_calls = llm_calls + (:kind = 'llm'), tool_calls = tool_calls + (:kind = 'tool')
WHERE id = :run RETURNING steps;

-- name: step_insert
INSERT INTO step (scope, attempt, parent, seq, kind, name, status, reason, effect, fingerprint, n,
                  started_at, arguments, input, prompt, tool_call_id, model, provider)
VALUES (:scope, :attempt, :parent, :seq, :kind, :name, 'running', :reason, :effect, :fingerprint, :n,
        :now, :arguments, :input, :prompt, :tool_call_id, :model, :provider);

-- name: step_complete
UPDATE step SET status = 'done', duration_us = :duration_us, output = :output, seal = :seal,
    reason = coalesce(:reason, reason), error = NULL,
    model = coalesce(:model, model), provider = coalesce(:provider, provider),
    input_tokens = :input_tokens, output_tokens = :output_tokens,
    cache_read_tokens = :cache_read_tokens, cache_write_tokens = :cache_write_tokens,
    reasoning_tokens = :reasoning_tokens, tokens_source = :tokens_source, cost_usd = :cost_usd,
    interrupts = :interrupts
WHERE id = :id AND attempt = :attempt;

-- name: step_fail
UPDATE step SET status = :status, duration_us = :duration_us, error = :error, output = :output,
    reason = coalesce(:reason, reason), interrupts = :interrupts
WHERE id = :id AND attempt = :attempt;

-- name: step_supersede
UPDATE step SET status = 'superseded', reason = coalesce(:reason, reason) WHERE id = :id;

-- name: step_left
-- A step that its own caller left; once its thread is deleted, the row may be another's.
UPDATE step SET status = 'superseded', reason = :reason WHERE id = :id AND attempt = :attempt;

-- name: step_never_made
-- A step whose caller was cancelled while its row was written: the call was not made.
UPDATE step SET status = 'superseded', reason = 'cancelled before it was made'
WHERE id = :id AND attempt = :attempt AND fingerprint = :fingerprint AND n = :n AND status = 'running';

-- name: step_doubt
UPDATE step SET status = 'in_doubt' WHERE id = :id AND status = 'running';

-- name: step_settle
UPDATE step SET status = 'done', output = :output, seal = :seal, reason = :reason WHERE id = :id;

-- name: step_asked
UPDATE step SET asked = 1 + (SELECT max(q.asked) FROM step q WHERE q.scope = :scope)
WHERE id = :id AND asked = 0;

-- name: step_not_asked
UPDATE step SET asked = 0 WHERE id = :id;

-- name: steps_start_over
UPDATE step SET status = 'superseded', reason = 'started over'
WHERE status IN ('done', 'in_doubt', 'running') AND scope IN (SELECT id FROM scope WHERE run = :run);

-- name: last_answer
-- The last LLM answer that the code of a scope got itself or in a graph that it ran ('|' in the
-- names), not one inside a tool ('>').
SELECT s.id FROM step s JOIN scope sc ON sc.id = s.scope
WHERE sc.run = :run AND s.kind = 'llm' AND s.status = 'done'
  AND (sc.name = :name
       OR (substr(sc.name, 1, length(:name) + 1) = :name || '|'
           AND instr(substr(sc.name, length(:name) + 1), '>') = 0))
ORDER BY s.started_at + s.duration_us / 1000 DESC, s.id DESC LIMIT 1;

-- name: run_add_usage
UPDATE run SET input_tokens = input_tokens + :input_tokens,
    output_tokens = output_tokens + :output_tokens,
    cost_usd = CASE WHEN :cost_usd IS NULL THEN cost_usd ELSE coalesce(cost_usd, 0) + :cost_usd END
WHERE id = :run;

-- name: spend_add
INSERT INTO spend_day (day, model, calls, input_tokens, output_tokens, cost_usd, saved_tokens, saved_usd)
VALUES (:day, :model, :calls, :input_tokens, :output_tokens, :cost_usd, :saved_tokens, :saved_usd)
ON CONFLICT (day, model) DO UPDATE SET
    calls = calls + excluded.calls,
    input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    cost_usd = CASE WHEN excluded.cost_usd IS NULL THEN cost_usd
                    ELSE coalesce(cost_usd, 0) + excluded.cost_usd END,
    saved_tokens = saved_tokens + excluded.saved_tokens,
    saved_usd = CASE WHEN excluded.saved_usd IS NULL THEN saved_usd
                     ELSE coalesce(saved_usd, 0) + excluded.saved_usd END;

-- name: saved_by_step
-- What one replay of a step saves: its own usage and that of the calls made inside it, by model.
WITH RECURSIVE inside (id) AS (
    SELECT :step UNION ALL SELECT s.id FROM step s JOIN inside i ON s.parent = i.id)
SELECT s.model, sum(s.input_tokens) AS input_tokens, sum(s.output_tokens) AS output_tokens,
       sum(s.cost_usd) AS cost_usd
FROM step s WHERE s.id IN (SELECT id FROM inside) AND s.status = 'done' AND s.kind = 'llm'
GROUP BY s.model;

-- name: replay_insert
-- Nothing where the thread was deleted meanwhile: the id of an attempt is never used again.
INSERT INTO replay (step, attempt, at, saved_input_tokens, saved_output_tokens, saved_usd)
SELECT :step, a.id, :now, :input_tokens, :output_tokens, :usd
FROM attempt a JOIN step s ON s.id = :step WHERE a.id = :attempt;

-- name: replay_row
SELECT id FROM replay WHERE id = :id AND step = :step AND attempt = :attempt AND at = :now;

-- name: run_add_saved
UPDATE run SET saved_tokens = saved_tokens + :tokens,
    saved_usd = CASE WHEN :usd IS NULL THEN saved_usd ELSE coalesce(saved_usd, 0) + :usd END
WHERE id = :run;

-- name: scope_asks
-- Steps of a scope of which a person is or was asked what became of them, in the order of asking.
SELECT s.id, s.scope, s.name, s.status, s.fingerprint, s.n,
       coalesce(i.type, 'dict') AS input_type, coalesce(s.arguments, i.text) AS input_text,
       i.data AS input_data
FROM step s LEFT JOIN item i ON i.id = s.input
WHERE s.scope = :scope AND s.asked > 0 ORDER BY s.asked;
