-- Listings: `page` of the last row is what the next page takes as `:cursor`; it is not shown.

-- name: @worked
-- How long the attempts of the run `r` worked, in milliseconds: the time between them is nobody's.
(SELECT sum(@greatest(coalesce(wa.ended_at, wp.last_seen_at) - wa.started_at, 0))
 FROM attempt wa JOIN process wp ON wp.id = wa.process WHERE wa.run = r.id)

-- name: runs_page
-- Newest first, by the order in which they began: a clock may have been set back since. With :urgent 1 only
-- runs that crashed or have steps in doubt, with 0 only the others.
SELECT r.id AS page, v.*, @worked AS worked_ms
FROM run r @cross runs v ON v.run_id = r.run_id
WHERE r.id < :cursor
  AND (:run_id IS NULL OR r.run_id = :run_id)
  AND (:thread_id IS NULL OR r.thread = (SELECT t.id FROM thread t WHERE t.thread_id = :thread_id))
  AND (:agent IS NULL OR r.agent = :agent)
  AND (:since IS NULL OR r.started_at >= :since) AND (:before IS NULL OR r.started_at < :before)
  AND (:urgent IS NULL OR :urgent = (r.id IN (
        SELECT u.id FROM run u
        WHERE u.status IN ('crashed', 'cancelled')
           OR (u.status = 'running' AND u.id NOT IN (SELECT l.run FROM live_attempt l))
        UNION ALL SELECT d.run FROM doubtful d)))
  AND (:status IS NULL OR v.status = :status)
ORDER BY r.id DESC LIMIT :limit;

-- name: run_shown
SELECT v.*, (SELECT @worked FROM run r WHERE r.run_id = v.run_id) AS worked_ms FROM runs v WHERE v.run_id = :run_id;

-- name: run_ids_between
SELECT run_id FROM run WHERE run_id >= :first AND run_id < :last
  AND (:tail = '' OR substr(run_id, -length(:tail)) = :tail)
ORDER BY run_id LIMIT :limit;

-- name: threads_of_runs
SELECT run_id, thread FROM run WHERE run_id IN (@each(:runs));

-- name: run_within
-- Whether there is such a run, and it is of this thread, run and agent.
SELECT EXISTS (
    SELECT 1 FROM run r
    WHERE r.run_id = :run_id AND (:only_run IS NULL OR r.run_id = :only_run)
      AND (:thread_id IS NULL OR r.thread = (SELECT t.id FROM thread t WHERE t.thread_id = :thread_id))
      AND (:agent IS NULL OR r.agent = :agent));

-- name: run_ids_page
-- The oldest first.
SELECT r.id AS page, r.run_id FROM run r
WHERE r.id > :cursor AND (:since IS NULL OR r.started_at >= :since)
  AND (:thread_id IS NULL OR r.thread = (SELECT t.id FROM thread t WHERE t.thread_id = :thread_id))
ORDER BY r.id LIMIT :limit;

-- name: run_newest
SELECT run_id FROM run ORDER BY id DESC LIMIT 1;

-- name: run_last_of_thread
SELECT r.run_id FROM run r JOIN thread t ON t.id = r.thread
WHERE t.thread_id = :thread_id ORDER BY r.id DESC LIMIT 1;

-- name: thread_ids_between
SELECT thread_id FROM thread WHERE thread_id >= :first AND thread_id < :last
  AND (:tail = '' OR substr(thread_id, -length(:tail)) = :tail)
ORDER BY thread_id LIMIT :limit;

-- name: thread_newest
-- Of the newest run, else the newest of all: a saver that captures nothing makes threads without runs.
SELECT t.thread_id FROM thread t
ORDER BY t.id = (SELECT r.thread FROM run r WHERE r.thread IS NOT NULL ORDER BY r.id DESC LIMIT 1) DESC, t.id DESC
LIMIT 1;

-- name: attempts_page
SELECT n AS page, a.* FROM attempts a WHERE run_id = :run_id AND n > :cursor ORDER BY n LIMIT :limit;

-- name: attempt_open
-- The newest attempt of a run that has not ended.
SELECT * FROM attempts WHERE run_id = :run_id AND ended_at IS NULL ORDER BY n DESC LIMIT 1;

-- name: steps_page
-- The inner query finds where the page ends, so that only its rows have their values put together.
SELECT v.seq AS page, v.*
FROM steps v
WHERE v.run_id = :run_id AND v.seq > :cursor AND v.seq <= (
    SELECT max(seq) FROM (
        SELECT s.seq FROM run r JOIN scope sc ON sc.run = r.id JOIN step s ON s.scope = sc.id
        WHERE r.run_id = :run_id AND s.seq > :cursor ORDER BY s.seq LIMIT :limit))
ORDER BY v.seq;

-- name: step_shown
SELECT * FROM steps WHERE run_id = :run_id AND step_id = :step_id;

-- name: step_part
-- A step in full, of long values the :chars characters behind the first :start.
SELECT step_id, run_id, thread_id, node, seq, parent_id, kind, name, status, reason, effect, started_at, duration_ms,
       model, input_tokens, output_tokens, cost_usd, replays, tool_call_id, idempotency_key,
       length(input) AS input_chars, substr(input, :start + 1, :chars) AS input,
       length(output) AS output_chars, substr(output, :start + 1, :chars) AS output,
       length(error) AS error_chars, substr(error, :start + 1, :chars) AS error
FROM steps WHERE run_id = :run_id AND step_id = :step_id;

-- name: attempt_extents
-- When the steps of each attempt of a run began and ended: what a heartbeat says may be 2 s old.
SELECT attempt_id, min(started_at) AS first_at, max(coalesce(ended_at, started_at)) AS last_at
FROM steps WHERE run_id = :run_id GROUP BY attempt_id;

-- name: step_run
-- The run of a step, by the id that the views show; other text finds nothing.
SELECT r.run_id FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
WHERE s.id = @number(:step_id) AND CAST(s.id AS TEXT) = :step_id;

-- name: doubt_page
-- Steps in doubt, and `write` steps whose result could not be stored, the newest first; @plain keeps
-- a database from walking through all steps in their order.
SELECT d.step AS page, CAST(d.step AS TEXT) AS step_id
FROM (SELECT step, run FROM doubtful
      UNION ALL
      SELECT s.id, sc.run FROM step s JOIN scope sc ON sc.id = s.scope
      WHERE s.status = 'done' AND s.output IS NULL AND s.effect = 'write') d
JOIN run r ON r.id = d.run
WHERE @plain(d.step) < :cursor AND (:run_id IS NULL OR r.run_id = :run_id)
  AND (:thread_id IS NULL OR r.thread = (SELECT t.id FROM thread t WHERE t.thread_id = :thread_id))
ORDER BY @plain(d.step) DESC LIMIT :limit;

-- name: questions_page
-- What waits for a person, the newest first.
SELECT q.asked_at || ' ' || q.question_id AS page, q.*
FROM questions q
WHERE q.answered_at IS NULL AND q.asked_at || ' ' || q.question_id < :cursor
  AND (:run_id IS NULL OR q.run_id = :run_id) AND (:thread_id IS NULL OR q.thread_id = :thread_id)
ORDER BY page DESC LIMIT :limit;

-- name: questions_asked
-- What was asked in a run, answered or not, in its order.
SELECT * FROM questions WHERE run_id = :run_id ORDER BY asked_at, question_id LIMIT :limit;

-- name: step_newest
SELECT CAST(max(id) AS TEXT) FROM step;

-- name: step_replays
SELECT a.n AS attempt, r.run_id, p.at AS at_ms, p.saved_input_tokens, p.saved_output_tokens, p.saved_usd
FROM replay p JOIN attempt a ON a.id = p.attempt JOIN run r ON r.id = a.run
WHERE p.step = @number(:step_id) ORDER BY p.id LIMIT 1000;

-- name: steps_not_replayed
-- Steps of a scope that earlier attempts recorded and :attempt did not hand back, the oldest first.
SELECT v.step_id, v.seq, v.name, v.status, v.input
FROM steps v
WHERE v.run_id = :run_id AND v.scope = :scope AND v.kind = :kind AND v.status IN ('done', 'superseded')
  AND CAST(v.attempt_id AS INTEGER) < :attempt
  AND NOT EXISTS (SELECT 1 FROM replay p
                  WHERE p.step = CAST(v.step_id AS INTEGER) AND p.attempt = :attempt)
ORDER BY v.name = :name DESC, v.seq LIMIT 50;

-- name: steps_same_request
-- Steps of other runs of the thread with the same fingerprint, the newest first.
SELECT o.run_id, CAST(os.id AS TEXT) AS step_id
FROM run r JOIN scope sc ON sc.run = r.id JOIN step s ON s.scope = sc.id AND s.id = @number(:step_id)
JOIN run o ON o.thread = r.thread AND o.id <> r.id
JOIN scope osc ON osc.run = o.id
JOIN step os ON os.scope = osc.id AND os.fingerprint = s.fingerprint AND os.status = 'done'
WHERE r.run_id = :run_id ORDER BY o.id DESC, os.id LIMIT 3;

-- name: steps_of_earlier_runs
-- LLM calls of a node in the two runs of the thread before a run, the newest first.
SELECT v.step_id, v.seq, v.name, v.status, v.input
FROM steps v
WHERE v.kind = 'llm' AND v.name = :name AND (v.node = :node OR (v.node IS NULL AND :node IS NULL)) AND v.run_id IN (
    SELECT o.run_id FROM run r JOIN run o ON o.thread = r.thread AND o.id < r.id
    WHERE r.run_id = :run_id ORDER BY o.id DESC LIMIT 2)
ORDER BY v.seq DESC LIMIT 20;

-- name: step_places
SELECT step_id, seq, node, kind, name, status, fingerprint, output, error
FROM steps WHERE run_id = :run_id AND status <> 'superseded' ORDER BY seq;

-- name: steps_by_seq
SELECT seq, status, input, output, error
FROM steps WHERE run_id = :run_id AND seq IN (@each(:seqs));

-- name: items_of_earlier_runs
-- What the runs of the thread before a run were sent by prompts, and answered.
WITH earlier (step) AS (
    SELECT s.id FROM run r JOIN run o ON o.thread = r.thread AND o.id < r.id
    JOIN scope sc ON sc.run = o.id JOIN step s ON s.scope = sc.id
    WHERE r.run_id = :run_id AND s.kind <> 'function')
SELECT i.id AS item, i.text FROM item i WHERE i.id IN (
    SELECT s.output FROM earlier e JOIN step s ON s.id = e.step
    UNION SELECT li.item FROM earlier e JOIN step s ON s.id = e.step JOIN list_item li ON li.list = s.prompt);

-- name: threads_page
-- The last active first. Times have one length, so that texts which begin with them sort as they do.
SELECT last_at || ' ' || thread_id AS page, v.*
FROM threads v
WHERE last_at || ' ' || thread_id < :cursor AND (:since IS NULL OR last_at >= :since)
ORDER BY last_at DESC, thread_id DESC LIMIT :limit;

-- name: runs_by_status
SELECT status, count(*) AS n FROM runs GROUP BY status;

-- name: steps_in_flight
SELECT s.kind, count(*) AS n
FROM live_attempt l @cross scope sc ON sc.run = l.run @cross step s ON s.scope = sc.id
WHERE s.attempt = l.id AND s.status = 'running' GROUP BY s.kind;

-- name: tools_that_read
-- Of the newest :limit steps, the tools that no step says to change anything, the busiest first.
SELECT name, count(*) AS calls
FROM (SELECT s.kind, s.name, s.effect FROM step s ORDER BY s.id DESC LIMIT :limit)
WHERE kind = 'tool' GROUP BY name HAVING count(CASE WHEN effect <> 'read' THEN 1 END) = 0 ORDER BY calls DESC, name;

-- name: doubt_count
SELECT count(*) FROM doubtful;

-- name: tail_steps
-- Steps after one, and of those that were running the ones that :open names, in the order of their ids.
SELECT s.id AS page, CAST(s.id AS TEXT) AS step_id, r.run_id, sc.node, s.seq, s.kind, s.name,
       CASE WHEN s.status <> 'running' OR s.attempt IN (SELECT l.id FROM live_attempt l) THEN s.status
            WHEN s.kind = 'llm' THEN 'failed' ELSE 'in_doubt' END AS status,
       s.error, s.started_at AS started_ms, s.duration_us / 1000.0 AS duration_ms,
       s.input_tokens, s.output_tokens, s.cost_usd
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
WHERE s.id IN (SELECT f.id FROM (SELECT n.id FROM step n WHERE n.id > :after ORDER BY n.id LIMIT :limit) f
               UNION ALL @each(:open))
  AND (:run_id IS NULL OR r.run_id = :run_id)
  AND (:thread_id IS NULL OR r.thread = (SELECT t.id FROM thread t WHERE t.thread_id = :thread_id))
ORDER BY s.id;

-- name: tail_replays
SELECT p.id AS page, CAST(p.step AS TEXT) AS step_id, r.run_id, sc.node, s.seq, s.kind, s.name,
       'replayed' AS status, NULL AS error, p.at AS started_ms, NULL AS duration_ms,
       p.saved_input_tokens AS input_tokens, p.saved_output_tokens AS output_tokens,
       p.saved_usd AS cost_usd
FROM (SELECT n.id FROM replay n WHERE n.id > :after ORDER BY n.id LIMIT :limit) f
JOIN replay p ON p.id = f.id JOIN attempt a ON a.id = p.attempt JOIN run r ON r.id = a.run
JOIN step s ON s.id = p.step JOIN scope sc ON sc.id = s.scope
WHERE (:run_id IS NULL OR r.run_id = :run_id)
  AND (:thread_id IS NULL OR r.thread = (SELECT t.id FROM thread t WHERE t.thread_id = :thread_id))
ORDER BY p.id;

-- name: tail_ends
SELECT coalesce((SELECT max(id) FROM step), 0) AS steps, coalesce((SELECT max(id) FROM replay), 0) AS replays;

-- name: tail_page_ends
-- Where the next pages end, whichever runs their rows are of.
SELECT (SELECT max(id) FROM (SELECT id FROM step WHERE id > :step ORDER BY id LIMIT :limit)) AS steps,
       (SELECT max(id) FROM (SELECT id FROM replay WHERE id > :replay ORDER BY id LIMIT :limit)) AS replays;

-- name: run_last_steps
SELECT CAST(step_id AS INTEGER) AS id FROM steps WHERE run_id = :run_id ORDER BY seq DESC LIMIT :limit;

-- name: thread_last_steps
SELECT s.id FROM thread t JOIN run r ON r.thread = t.id JOIN scope sc ON sc.run = r.id JOIN step s ON s.scope = sc.id
WHERE t.thread_id = :thread_id ORDER BY s.id DESC LIMIT :limit;

-- name: resume_plan
-- What is recorded of a run, and so what becomes of its requests when they are made again. A request that
-- failed and was made again since, with a result, is not made a third time.
SELECT kind, effect, status, status = 'done' AND output IS NULL AS is_lost, name, count(*) AS steps,
       sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd
FROM steps v WHERE run_id = :run_id AND (status <> 'failed' OR NOT EXISTS (
    SELECT 1 FROM step f JOIN step d ON d.scope = f.scope AND d.fingerprint = f.fingerprint AND d.id > f.id
    WHERE f.id = CAST(v.step_id AS INTEGER) AND d.status = 'done' AND d.output IS NOT NULL))
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5;

-- name: step_aside
-- Why a step was set aside, None where it was not.
SELECT aside FROM step WHERE id = @number(:step_id);

-- name: step_late_kept
-- What a call came to after it had been decided what became of it.
SELECT late_output AS output, late_error AS error FROM step
WHERE id = @number(:step_id) AND (late_output IS NOT NULL OR late_error IS NOT NULL);

-- name: changed_count
-- Of the newest steps, how many were made since their request had changed.
SELECT count(*) FROM (SELECT reason_code FROM step ORDER BY id DESC LIMIT 10000) WHERE reason_code = 'changed';
