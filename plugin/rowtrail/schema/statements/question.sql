-- What a person is asked, and answers.

-- name: question_of_place
-- :run is NULL in a graph whose calls are not recorded.
SELECT id FROM question WHERE @same(run, :run) AND @same(thread, :thread) AND place = :place AND n = :n;

-- name: questions_of_place
-- What a scope asked, in order, answered or not.
SELECT n, question, answer, answered_at IS NOT NULL AS is_answered FROM question
WHERE @same(run, :run) AND @same(thread, :thread) AND place = :place AND kind <> 'in_doubt' ORDER BY n;

-- name: doubts_of_place
-- The steps in doubt about which a scope asked, and nobody answered.
SELECT s.id AS step, s.tool_call_id FROM question q JOIN step s ON s.id = q.step
WHERE @same(q.run, :run) AND @same(q.thread, :thread) AND q.place = :place AND q.kind = 'in_doubt'
  AND q.answered_at IS NULL AND s.status = 'in_doubt' ORDER BY q.id;

-- name: run_that_asked
-- The newest run with a question that contains a text.
SELECT r.run_id FROM question q JOIN run r ON r.id = q.run
WHERE @find(q.question, :part) > 0 ORDER BY q.id DESC LIMIT 1;

-- name: question_of_step
-- About a step in doubt, which may have been asked somewhere else before.
SELECT id FROM question WHERE step = :step AND kind = 'in_doubt';

-- name: question_insert
INSERT INTO question (thread, run, scope, place, n, step, kind, asked_at, question)
VALUES (:thread, :run, :scope, :place, :n, :step, :kind, :now, :question);

-- name: question_asked_again
-- It was not answered, or by nothing that counts.
UPDATE question SET scope = :scope, place = :place, n = :n, step = coalesce(:step, step), kind = :kind, question = :question,
    asked_at = CASE WHEN answered_at IS NULL THEN asked_at ELSE :now END, answered_at = NULL, answer = NULL
WHERE id = :id;

-- name: question_answer
UPDATE question SET answered_at = :now, answer = :answer WHERE id = :id AND answered_at IS NULL;

-- name: question_answer_newest
UPDATE question SET answered_at = :now, answer = :answer
WHERE id = (SELECT max(q.id) FROM question q WHERE @same(q.run, :run) AND @same(q.thread, :thread) AND q.answered_at IS NULL);

-- name: question_settle
-- What a person said of a step in doubt, where nobody had asked.
INSERT INTO question (thread, run, scope, place, n, step, kind, asked_at, question, answered_at, answer)
SELECT r.thread, r.id, sc.id, sc.name, 0, s.id, 'in_doubt',
       coalesce(s.started_at + s.duration_us / 1000, a.ended_at, s.started_at),
       @quoted(@doubt), :now, :answer
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run JOIN attempt a ON a.id = s.attempt
WHERE s.id = :step;

-- name: thread_questions_delete
DELETE FROM question WHERE (run IS NULL AND thread = :thread) OR run IN (SELECT id FROM run WHERE thread = :thread);

-- name: thread_open_questions_delete
-- Before the checkpoints of a thread go: what waits for an answer that nothing could take then. A step in doubt can be
-- settled still.
DELETE FROM question WHERE answered_at IS NULL AND kind <> 'in_doubt' AND (
    (run IS NULL AND thread = :thread)
    OR run IN (SELECT r.id FROM run r WHERE r.thread = :thread AND r.status <> 'running'
                 AND r.id IN (SELECT c.run FROM checkpoint c WHERE c.thread = :thread)));

-- name: questions_of_run_delete
DELETE FROM question WHERE run = :run;
