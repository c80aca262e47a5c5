-- name: thread_row
SELECT id FROM thread WHERE thread_id = :thread_id;

-- name: thread_insert
INSERT INTO thread (thread_id, created_at) VALUES (:thread_id, :now);

-- name: open_attempts
-- Attempts that go on, and those that ended while calls of them went on.
SELECT a.id, a.run, a.ended_at, p.id AS process, p.pid, p.pid_start, p.boot_id, p.pid_space, p.host, p.last_seen_at
FROM attempt a JOIN process p ON p.id = a.process
WHERE a.ended_at IS NULL OR a.left_open = 1;

-- name: attempt_crash
UPDATE attempt SET left_open = 0, outcome = CASE WHEN ended_at IS NULL THEN 'crashed' ELSE outcome END,
    ended_at = coalesce(ended_at, :at)
WHERE id = :attempt;

-- name: step_crash
-- changes: step (one)
-- Whoever made the call is gone, or has left it (:error says which).
UPDATE step
SET status = CASE kind WHEN 'llm' THEN 'failed' ELSE 'in_doubt' END,
    error = CASE kind WHEN 'llm' THEN :error ELSE error END,
    aside = CASE kind WHEN 'llm' THEN 'crashed' ELSE aside END
WHERE id = :id AND attempt = :attempt AND status = 'running';

-- name: step_left_behind
-- changes: step (one)
-- A call that only reads, of a run that is done: nobody need know what became of it.
UPDATE step SET status = 'superseded', aside = 'left_behind', reason = 'left behind: the run was done while it went on'
WHERE id = :id AND attempt = :attempt AND status = 'running' AND effect = 'read';

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
-- A run that an attempt finished stays done.
UPDATE run SET status = CASE WHEN done_by IS NULL THEN 'crashed' ELSE 'done' END, ended_at = coalesce(ended_at, :at)
WHERE id = :run AND status = 'running'
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.run = :run AND a.ended_at IS NULL);

-- name: run_by_id
SELECT * FROM run WHERE run_id = :run_id;

-- name: run_newest_of_thread
SELECT * FROM run WHERE thread = :thread ORDER BY id DESC LIMIT 1;

-- name: run_insert
INSERT INTO run (run_id, thread, agent, status, nonce, keeps_doubts, started_at, input_digest, base_step)
VALUES (:run_id, :thread, :agent, 'running', :nonce, :keeps_doubts, :now, :input_digest, :base_step);

-- name: run_reopen
UPDATE run SET status = 'running', ended_at = NULL, error = NULL,
    base_step = coalesce(:base_step, base_step), agent = coalesce(agent, :agent),
    thread = coalesce(thread, :thread)
WHERE id = :run;

-- name: run_end
-- What an attempt says of its run, unless another goes on or has finished it.
UPDATE run SET
    done_by = CASE WHEN :status = 'done' THEN coalesce(done_by, :attempt) ELSE done_by END,
    status = CASE WHEN :status = 'done' OR done_by IS NOT NULL THEN 'done' ELSE :status END,
    ended_at = :now,
    error = CASE WHEN :status = 'done' OR done_by IS NOT NULL THEN NULL ELSE :error END
WHERE id = :run AND (:status = 'done' OR NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.run = :run AND a.ended_at IS NULL AND a.id <> :attempt));

-- name: run_not_done
-- A run that is begun afresh.
UPDATE run SET done_by = NULL WHERE id = :run;

-- name: run_began_effects
-- Whether a run began a step that changes the world.
SELECT EXISTS (SELECT 1 FROM scope sc JOIN step s ON s.scope = sc.id WHERE sc.run = :run AND s.effect <> 'read');

-- name: run_saved
-- Whether the newest checkpoint that a run saved in a thread is of this run: the thread holds its input.
SELECT c.run = :run FROM checkpoint c
WHERE c.thread = :thread AND c.ns = '' AND c.hidden = 0 AND c.body IS NOT NULL AND c.run IS NOT NULL
ORDER BY c.id DESC LIMIT 1;

-- name: run_last_step
-- The superstep of the newest checkpoint that a run saved itself: somebody may have updated the state since.
SELECT c.step FROM checkpoint c
WHERE c.thread = :thread AND c.ns = '' AND c.run = :run AND c.hidden = 0 AND c.body IS NOT NULL
ORDER BY c.id DESC LIMIT 1;

-- name: run_last_checkpoint
-- The state of the thread when the run ended.
SELECT c.checkpoint_id FROM checkpoint c
WHERE c.thread = :thread AND c.ns = '' AND c.run = :run AND c.hidden = 0 AND c.body IS NOT NULL
ORDER BY c.id DESC LIMIT 1;

-- name: run_delete_empty
DELETE FROM run
WHERE id = :run AND steps = 0
  AND NOT EXISTS (SELECT 1 FROM checkpoint c WHERE c.run = :run)
  AND (SELECT count(*) FROM attempt a WHERE a.run = :run) = 1;

-- name: attempt_delete
DELETE FROM attempt WHERE id = :attempt;

-- name: attempt_insert
INSERT INTO attempt (run, n, process, started_at, answer, head, head_step)
SELECT :run, coalesce(max(n), 0) + 1, :process, :now, :answer, :head, :head_step FROM attempt WHERE run = :run;

-- name: attempt_number
SELECT n FROM attempt WHERE id = :attempt;

-- name: attempt_end
UPDATE attempt SET ended_at = :now, outcome = :outcome, left_open = :left_open
WHERE id = :attempt AND (outcome IS NULL OR outcome = 'crashed');

-- name: attempt_owner
SELECT p.id AS process, p.pid, p.pid_start, p.boot_id, p.pid_space, p.host, p.last_seen_at, a.ended_at, a.left_open
FROM attempt a JOIN process p ON p.id = a.process WHERE a.id = :attempt;

-- name: run_live_attempts
SELECT a.id AS attempt, p.id AS process, p.pid, p.pid_start, p.boot_id, p.pid_space, p.host, p.last_seen_at
FROM attempt a JOIN process p ON p.id = a.process
WHERE a.run = :run AND a.ended_at IS NULL AND a.id <> :me;

-- name: thread_live_attempts
-- Attempts that go on in a thread, of any run.
SELECT a.id AS attempt, a.run, r.run_id, p.id AS process, p.pid, p.pid_start, p.boot_id, p.pid_space, p.host, p.last_seen_at
FROM attempt a JOIN process p ON p.id = a.process JOIN run r ON r.id = a.run
WHERE a.ended_at IS NULL AND r.thread = :thread;

-- name: run_last_attempt
SELECT id, n, outcome, ended_at, answer, head, head_step FROM attempt WHERE run = :run ORDER BY n DESC LIMIT 1;

-- name: scope_row
SELECT id FROM scope WHERE run = :run AND name = :name;

-- name: scope_insert
INSERT INTO scope (run, name, node, agent, key) VALUES (:run, :name, :node, :agent, :key);

-- name: scope_agents
-- Who makes the calls of the scopes whose names are between two, where that is not the run's own agent.
SELECT name, agent FROM scope
WHERE run = :run AND name >= :first AND name < :last AND agent IS NOT NULL;

-- name: scope_finish
-- The framework has saved what a task returned: it and the scopes inside it are not executed again.
UPDATE scope SET finished = 1
WHERE run = :run AND (name = :name OR (name > :name || '>' AND name < :name || '?') OR (name > :name || '|' AND name < :name || '}'));

-- name: scope_steps
-- What is recorded in one scope, with the results, oldest first.
SELECT s.id, s.scope, s.attempt, s.seq, s.kind, s.name, s.status, s.reason_code, s.aside, s.fingerprint, s.n, s.key_n, coalesce(s.key_scope, (SELECT k.key FROM scope k WHERE k.id = s.scope)) AS key_scope,
       s.tool_call_id, s.output, s.seal, s.interrupts, s.asked, s.effect, s.error, s.failure, s.ended_seq, s.masked,
       (SELECT q.id FROM step q WHERE q.scope = s.scope AND q.fingerprint = s.fingerprint AND q.n = s.n
          AND @same(q.tool_call_id, s.tool_call_id) AND q.asked > 0 AND q.asked_in = s.scope ORDER BY q.asked DESC LIMIT 1) AS last_asked,
       i.type AS output_type, i.text AS output_text, i.data AS output_data
FROM step s LEFT JOIN item i ON i.id = s.output
WHERE s.scope = :scope ORDER BY s.id LIMIT :limit;

-- name: step_candidates
SELECT s.id, s.scope, s.attempt, s.seq, s.kind, s.name, s.status, s.reason_code, s.aside, s.fingerprint, s.n, s.key_n, coalesce(s.key_scope, (SELECT k.key FROM scope k WHERE k.id = s.scope)) AS key_scope,
       s.tool_call_id, s.output, s.seal, s.interrupts, s.asked, s.effect, s.error, s.failure, s.ended_seq, s.masked,
       (SELECT q.id FROM step q WHERE q.scope = s.scope AND q.fingerprint = s.fingerprint AND q.n = s.n
          AND @same(q.tool_call_id, s.tool_call_id) AND q.asked > 0 AND q.asked_in = s.scope ORDER BY q.asked DESC LIMIT 1) AS last_asked,
       i.type AS output_type, i.text AS output_text, i.data AS output_data
FROM step s LEFT JOIN item i ON i.id = s.output
WHERE s.scope = :scope AND s.fingerprint = :fingerprint AND s.n = :n
  AND @same(s.tool_call_id, :tool_call_id)
ORDER BY s.id;

-- name: step_effects_alike
-- The steps of a run that change the world and ask for the same, whatever their scope, oldest first.
SELECT s.id, s.kind, s.status, s.effect, sc.name AS scope_name, sc.finished, s.parent
FROM scope sc JOIN step s ON s.scope = sc.id
WHERE sc.run = :run AND s.fingerprint = :fingerprint AND s.effect <> 'read'
  AND s.status IN ('running', 'done', 'in_doubt')
ORDER BY s.id;

-- name: step_done_around
-- The nearest step around a step that is done, and so handed back as a whole.
WITH RECURSIVE around (id, depth) AS (
    SELECT :parent, 1 UNION ALL
    SELECT p.parent, a.depth + 1 FROM around a JOIN step p ON p.id = a.id WHERE p.parent IS NOT NULL)
SELECT p.id, p.fingerprint FROM around a JOIN step p ON p.id = a.id
WHERE p.status = 'done' AND p.output IS NOT NULL ORDER BY a.depth LIMIT 1;

-- name: step_fingerprint
SELECT fingerprint FROM step WHERE id = :id;

-- name: step_recorded
-- One step as `step_candidates` has it; asked about where :scope asked.
SELECT s.id, s.scope, s.attempt, s.seq, s.kind, s.name, s.status, s.reason_code, s.aside, s.fingerprint, s.n, s.key_n, coalesce(s.key_scope, (SELECT k.key FROM scope k WHERE k.id = s.scope)) AS key_scope,
       s.tool_call_id, s.output, s.seal, s.interrupts, s.asked, s.effect, s.error, s.failure, s.ended_seq, s.masked,
       CASE WHEN s.asked > 0 AND s.asked_in = :scope THEN s.id END AS last_asked,
       i.type AS output_type, i.text AS output_text, i.data AS output_data
FROM step s LEFT JOIN item i ON i.id = s.output WHERE s.id = :id;

-- name: step_effects_of_objects
-- The writes of a run that ask for the same on another object, oldest first.
SELECT s.id, s.kind, s.status, s.effect, sc.name AS scope_name, sc.finished, s.parent,
       coalesce(s.arguments, i.text) AS input_text
FROM step s JOIN scope sc ON sc.id = s.scope LEFT JOIN item i ON i.id = s.input
WHERE s.object_free = :object_free AND sc.run = :run AND s.fingerprint <> :fingerprint
  AND s.status IN ('running', 'done', 'in_doubt')
ORDER BY s.id;

-- name: step_doubted_before
-- A write of another run of the thread that asks for the same and is in doubt, or goes on (where its attempt has
-- ended, nobody waits for it any more), and for which no call of this run stands yet; the newest.
SELECT * FROM (
    SELECT s.id, coalesce(s.twin, s.id) AS root, s.attempt, s.status, NULL AS ended_at
    FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
    WHERE s.status = 'in_doubt' AND s.fingerprint = :fingerprint AND s.effect = 'write' AND r.thread = :thread AND r.id <> :run
    UNION ALL
    SELECT s.id, coalesce(s.twin, s.id), s.attempt, s.status, a.ended_at
    FROM attempt a @cross run r ON r.id = a.run @cross scope sc ON sc.run = r.id @cross step s ON s.scope = sc.id
    WHERE (a.ended_at IS NULL OR a.left_open = 1) AND r.thread = :thread AND r.id <> :run
      AND s.fingerprint = :fingerprint AND s.effect = 'write' AND s.status = 'running'
) d
WHERE NOT EXISTS (SELECT 1 FROM step t JOIN scope ts ON ts.id = t.scope WHERE t.twin = d.root AND ts.run = :run)
ORDER BY d.id DESC LIMIT 1;

-- name: step_key_n
-- Which of the equal requests of a scope the next new one is.
SELECT coalesce(max(key_n), 0) + 1 FROM step WHERE scope = :scope AND fingerprint = :fingerprint;

-- name: step_elsewhere
-- The newest runs of the thread that recorded this request, for replay on demand. People answered
-- those runs, not this one.
SELECT s.id, s.scope, s.attempt, s.seq, s.kind, s.name, s.status, s.reason_code, s.aside, s.fingerprint, s.n, s.key_n, coalesce(s.key_scope, (SELECT k.key FROM scope k WHERE k.id = s.scope)) AS key_scope,
       s.tool_call_id, s.output, s.seal, 0 AS interrupts, 0 AS asked, s.effect, s.error, s.failure, s.ended_seq, s.masked,
       NULL AS last_asked,
       i.type AS output_type, i.text AS output_text, i.data AS output_data
FROM run r JOIN scope sc ON sc.run = r.id JOIN step s ON s.scope = sc.id AND s.fingerprint = :fingerprint
LEFT JOIN item i ON i.id = s.output
WHERE r.thread = :thread AND r.id <> :run AND s.status = 'done' AND @same(s.tool_call_id, :tool_call_id)
ORDER BY r.id DESC, s.id;

-- name: step_by_text_id
-- By its id as the views show it; other text finds nothing, however long.
SELECT s.*, sc.run, sc.name AS scope_name FROM step s JOIN scope sc ON sc.id = s.scope
WHERE s.id = @number(:id) AND CAST(s.id AS TEXT) = :id;

-- name: step_status
SELECT s.status, s.attempt, s.name, s.kind FROM step s WHERE s.id = :id;

-- name: run_count_step
UPDATE run SET steps = steps + 1,
    llm_calls = llm_calls + CASE :kind WHEN 'llm' THEN 1 ELSE 0 END,
    tool_calls = tool_calls + CASE :kind WHEN 'tool' THEN 1 ELSE 0 END
WHERE id = :run RETURNING steps;

-- name: step_insert
-- changes: step (adds)
INSERT INTO step (scope, attempt, parent, seq, kind, name, status, reason_code, reason, effect, fingerprint, n, key_n, key_scope,
                  started_at, arguments, input, prompt, tool_call_id, model, provider, error, twin, masked, object_free)
VALUES (:scope, :attempt, :parent, :seq, :kind, :name, :status, :reason_code, :reason, :effect, :fingerprint, :n, :key_n, :key_scope,
        :now, :arguments, :input, :prompt, :tool_call_id, :model, :provider, :error, :twin, :masked, :object_free);

-- name: step_begin
-- changes: step (adds)
-- The row of a step, in one statement: where something stands against it, or its run is gone, a column that must
-- have a value has none, and nothing is written. What else may forbid a call (a budget that is spent, a lease that
-- another owner has) is another EXISTS in `scope`; what may not be stored is left out of the parameters before.
INSERT INTO step (scope, attempt, parent, seq, kind, name, status, reason_code, reason, effect, fingerprint, n, key_n,
                  started_at, arguments, tool_call_id, masked, object_free)
VALUES (
    CASE WHEN EXISTS (SELECT 1 FROM step s WHERE s.scope = :scope AND s.fingerprint = :fingerprint
                        AND (s.n = :n OR s.key_n >= :n))
           OR :thread IS NOT NULL AND (
              EXISTS (SELECT 1 FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
                      WHERE s.status = 'in_doubt' AND s.fingerprint = :fingerprint AND s.effect = 'write'
                        AND r.thread = :thread AND r.id <> :run)
              OR EXISTS (SELECT 1 FROM attempt a @cross run r ON r.id = a.run @cross scope sc ON sc.run = r.id
                           @cross step s ON s.scope = sc.id
                         WHERE (a.ended_at IS NULL OR a.left_open = 1) AND r.thread = :thread AND r.id <> :run
                           AND s.fingerprint = :fingerprint AND s.effect = 'write' AND s.status = 'running'))
         THEN NULL ELSE :scope END,
    :attempt, :parent, (SELECT r.steps + 1 FROM run r WHERE r.id = :run), :kind, :name, 'running', :reason_code, :reason,
    :effect, :fingerprint, :n, :n, :now, :arguments, :tool_call_id, :masked, :object_free);

-- name: step_complete
-- changes: step (one)
-- Only while nobody has decided what became of it: what arrives late is kept beside (step_late).
UPDATE step SET status = 'done', duration_us = :duration_us, output = :output, seal = :seal,
    reason_code = coalesce(:reason_code, reason_code), reason = coalesce(:reason, reason), error = NULL,
    model = coalesce(:model, model), provider = coalesce(:provider, provider),
    input_tokens = :input_tokens, output_tokens = :output_tokens,
    cache_read_tokens = :cache_read_tokens, cache_write_tokens = :cache_write_tokens,
    reasoning_tokens = :reasoning_tokens, tokens_source = :tokens_source, cost_usd = :cost_usd,
    interrupts = :interrupts
WHERE id = :id AND attempt = :attempt AND status IN ('running', 'in_doubt');

-- name: step_fail
-- changes: step (one)
UPDATE step SET status = :status, duration_us = :duration_us, error = :error, failure = :failure, output = :output,
    ended_seq = (SELECT r.steps FROM run r JOIN scope sc ON sc.run = r.id WHERE sc.id = step.scope),
    interrupts = :interrupts,
    input_tokens = :input_tokens, output_tokens = :output_tokens,
    cache_read_tokens = :cache_read_tokens, cache_write_tokens = :cache_write_tokens,
    reasoning_tokens = :reasoning_tokens, tokens_source = :tokens_source, cost_usd = :cost_usd
WHERE id = :id AND attempt = :attempt AND status IN ('running', 'in_doubt');

-- name: step_late
-- changes: step (one)
-- What a call returned or raised after somebody had decided what became of it.
UPDATE step SET late_output = :output, late_error = :error WHERE id = :id AND attempt = :attempt;

-- name: step_supersede
-- changes: step (one)
UPDATE step SET status = 'superseded', aside = :aside, reason = coalesce(:reason, reason), answers = coalesce(:answers, answers)
WHERE id = :id;

-- name: step_twins
-- The steps that were in doubt together with this one.
SELECT t.id, t.fingerprint, t.n FROM step s JOIN step t ON t.twin = s.id OR t.id = s.twin OR t.twin = s.twin
WHERE s.id = :id AND t.id <> s.id AND t.status = 'in_doubt';

-- name: step_left
-- changes: step (one)
-- A step that its own caller left; once its thread is deleted, the row may be another's.
UPDATE step SET status = 'superseded', aside = :aside, reason = :reason
WHERE id = :id AND attempt = :attempt AND status = 'running';

-- name: step_never_made
-- changes: step (one)
-- A step whose caller was cancelled while its row was written: the call was not made.
UPDATE step SET status = 'superseded', aside = 'never_made', reason = 'cancelled before it was made'
WHERE id = :id AND attempt = :attempt AND fingerprint = :fingerprint AND n = :n AND status = 'running';

-- name: step_doubt
-- changes: step (one)
UPDATE step SET status = 'in_doubt' WHERE id = :id AND status = 'running';

-- name: step_settle
-- changes: step (one)
UPDATE step SET status = 'done', output = :output, seal = :seal, reason_code = 'settled', reason = :reason,
    aside = NULL, answers = coalesce(:answers, answers)
WHERE id = :id;

-- name: step_asked
-- changes: step (one)
UPDATE step SET asked_in = :scope,
    asked = 1 + (SELECT coalesce(max(q.asked), 0) FROM step q WHERE q.asked_in = :scope)
WHERE id = :id AND (asked = 0 OR NOT @same(asked_in, :scope));

-- name: step_not_asked
-- changes: step (one)
UPDATE step SET asked = 0 WHERE id = :id;

-- name: steps_start_over
-- changes: step (many)
UPDATE step SET status = 'superseded', aside = 'started_over', reason = 'started over'
WHERE status IN ('done', 'in_doubt', 'running') AND scope IN (SELECT id FROM scope WHERE run = :run);

-- name: last_answer
-- The last LLM answer that the code of a scope got itself or in a graph that it ran ('|' in the
-- names), not one inside a tool ('>').
SELECT s.id, s.seq, i.text FROM step s JOIN scope sc ON sc.id = s.scope LEFT JOIN item i ON i.id = s.output
WHERE sc.run = :run AND s.kind = 'llm' AND s.status = 'done'
  AND (sc.name = :name
       OR (substr(sc.name, 1, length(:name) + 1) = :name || '|'
           AND @find(substr(sc.name, length(:name) + 1), '>') = 0))
ORDER BY s.started_at + s.duration_us / 1000 DESC, s.id DESC LIMIT 1;

-- name: effects_inside
-- Steps that change the world, begun in a scope or in one inside it: those that no tool call of an answer
-- asked for only after that answer.
SELECT s.id, s.name, s.tool_call_id FROM step s JOIN scope sc ON sc.id = s.scope
WHERE sc.run = :run AND s.effect <> 'read' AND s.status <> 'superseded'
  AND (sc.name = :name OR substr(sc.name, 1, length(:name) + 1) IN (:name || '|', :name || '>'))
  AND (s.tool_call_id IS NOT NULL OR s.seq > :after)
ORDER BY s.id;

-- name: run_add_usage
UPDATE run SET input_tokens = input_tokens + :input_tokens,
    output_tokens = output_tokens + :output_tokens,
    cost_usd = CASE WHEN :cost_usd IS NULL THEN cost_usd ELSE coalesce(cost_usd, 0) + :cost_usd END
WHERE id = :run;

-- name: spend_add
INSERT INTO spend_day (day, model, calls, input_tokens, output_tokens, cost_usd, saved_tokens, saved_usd)
VALUES (:day, :model, :calls, :input_tokens, :output_tokens, :cost_usd, :saved_tokens, :saved_usd)
ON CONFLICT (day, model) DO UPDATE SET
    calls = spend_day.calls + excluded.calls,
    input_tokens = spend_day.input_tokens + excluded.input_tokens,
    output_tokens = spend_day.output_tokens + excluded.output_tokens,
    cost_usd = CASE WHEN excluded.cost_usd IS NULL THEN spend_day.cost_usd
                    ELSE coalesce(spend_day.cost_usd, 0) + excluded.cost_usd END,
    saved_tokens = spend_day.saved_tokens + excluded.saved_tokens,
    saved_usd = CASE WHEN excluded.saved_usd IS NULL THEN spend_day.saved_usd
                     ELSE coalesce(spend_day.saved_usd, 0) + excluded.saved_usd END;

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

-- name: run_add_saved
UPDATE run SET saved_tokens = saved_tokens + :tokens,
    saved_usd = CASE WHEN :usd IS NULL THEN saved_usd ELSE coalesce(saved_usd, 0) + :usd END
WHERE id = :run;

-- name: scope_asks
-- Steps of a scope of which a person is or was asked what became of them, in the order of asking.
SELECT s.id, s.scope, s.name, s.status = 'in_doubt' OR s.status = 'done' AND s.output IS NULL AS is_undecided, s.error, s.fingerprint, s.key_n, s.answers,
       coalesce(s.key_scope, (SELECT k.key FROM scope k WHERE k.id = s.scope)) AS key_scope,
       coalesce(i.type, 'dict') AS input_type, coalesce(s.arguments, i.text) AS input_text,
       i.data AS input_data
FROM step s LEFT JOIN item i ON i.id = s.input
WHERE s.asked_in = :scope AND s.asked > 0 ORDER BY s.asked;
