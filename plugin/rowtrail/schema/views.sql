-- The public contract: views over the base tables, recreated whenever rowtrail opens a file whose views
-- are of another version. Text is JSON or plain text, times are UTC ISO-8601, durations milliseconds.
-- @utc(ms) is written out by the loader of this file: UTC ISO-8601 text of a time in milliseconds.
-- @uuid(id) likewise: the text of a UUID that is stored in 16 bytes, and any other id as it is.
-- @text(item) likewise: the text for people of a message, joined where it is in blocks; of other JSON, the JSON.
-- @shown(json) likewise: text as it is, other JSON as JSON.
-- @doubt: what is asked about the step `s`, which may or may not have happened.
-- A message is a JSON object with `role` and `content`; see rowtrail.vocabulary.
-- A process that was not heard of for 15 s counts as dead here; rowtrail itself decides by the
-- identity of the process and writes the outcome down when it next opens the file.

CREATE VIEW live_attempt AS   -- private: serves the views below; those with `ended_at` left calls that go on
SELECT a.id, a.run, a.ended_at
FROM attempt a JOIN process p ON p.id = a.process
WHERE (a.ended_at IS NULL OR a.left_open = 1)
  AND p.last_seen_at > (CAST(strftime('%s', 'now') AS INTEGER) - 15) * 1000;

CREATE VIEW list_item AS   -- private: lists, one row per item
SELECT l.id AS list,
       json_extract(piece.value, '$[0]') + li.pos - json_extract(piece.value, '$[1]') AS position,
       li.item
FROM list l CROSS JOIN json_each(l.pieces) AS piece   -- in this order: else a log is read for each piece
CROSS JOIN log_item li ON li.log = l.log
 AND li.pos >= json_extract(piece.value, '$[1]') AND li.pos < json_extract(piece.value, '$[1]') + json_extract(piece.value, '$[2]');

CREATE VIEW doubtful AS   -- private: steps in doubt, by the indices of what is open
SELECT s.id AS step, sc.run
FROM step s JOIN scope sc ON sc.id = s.scope
WHERE s.status = 'in_doubt'
UNION ALL
SELECT s.id, a.run
FROM attempt a CROSS JOIN scope sc ON sc.run = a.run CROSS JOIN step s ON s.scope = sc.id
WHERE (a.ended_at IS NULL OR a.left_open = 1) AND a.id NOT IN (SELECT l.id FROM live_attempt l)
  AND s.attempt = a.id AND s.status = 'running' AND s.kind <> 'llm';

CREATE VIEW threads AS   -- conversations, with totals of their runs
SELECT t.thread_id,
       @utc(f.first) AS first_at,
       @utc(f.last) AS last_at,
       f.runs, f.steps, f.input_tokens, f.output_tokens
FROM thread t JOIN (
    SELECT t2.id,
           min(t2.created_at, coalesce(min(r.started_at), t2.created_at)) AS first,
           max(t2.created_at,
               coalesce(max(max(r.started_at, coalesce(r.ended_at, r.started_at))), t2.created_at),
               coalesce((SELECT c.created_at FROM checkpoint c WHERE c.thread = t2.id
                         ORDER BY c.id DESC LIMIT 1), t2.created_at)) AS last,
           count(r.id) AS runs,
           coalesce(sum(r.steps), 0) AS steps,
           coalesce(sum(r.input_tokens), 0) AS input_tokens,
           coalesce(sum(r.output_tokens), 0) AS output_tokens
    FROM thread t2 LEFT JOIN run r ON r.thread = t2.id
    GROUP BY t2.id
) f ON f.id = t.id;

CREATE VIEW runs AS   -- requests to an agent
SELECT r.run_id,
       (SELECT t.thread_id FROM thread t WHERE t.id = r.thread) AS thread_id,
       r.agent,
       CASE WHEN r.status = 'running' AND NOT EXISTS (SELECT 1 FROM live_attempt l WHERE l.run = r.id AND l.ended_at IS NULL)
            THEN CASE WHEN r.done_by IS NULL THEN 'crashed' ELSE 'done' END ELSE r.status END AS status,
       CASE WHEN r.done_by IS NULL THEN coalesce(
           (SELECT @shown(q.question) FROM question q LEFT JOIN step s ON s.id = q.step AND q.kind = 'in_doubt'
             WHERE q.run = r.id AND q.answered_at IS NULL
               AND (q.kind <> 'in_doubt' OR s.status = 'in_doubt' OR s.status = 'running')
             ORDER BY q.id DESC LIMIT 1),
           (SELECT @doubt FROM scope sc JOIN step s ON s.scope = sc.id
             WHERE sc.run = r.id AND s.status = 'in_doubt' AND s.effect = 'write' ORDER BY s.id DESC LIMIT 1),
           (SELECT @doubt FROM attempt a JOIN scope sc ON sc.run = a.run JOIN step s ON s.scope = sc.id
             WHERE a.run = r.id AND (a.ended_at IS NULL OR a.left_open = 1) AND a.id NOT IN (SELECT l.id FROM live_attempt l)
               AND s.attempt = a.id AND s.status = 'running' AND s.effect = 'write' ORDER BY s.id DESC LIMIT 1)) END AS waiting_for,
       @utc(r.started_at) AS started_at,
       @utc(r.ended_at) AS ended_at,
       (SELECT count(*) FROM attempt a WHERE a.run = r.id) AS attempts,
       r.steps, r.llm_calls, r.tool_calls,
       (SELECT count(*) FROM scope sc JOIN step s ON s.scope = sc.id
         WHERE sc.run = r.id AND s.status = 'in_doubt')
       + (SELECT count(*) FROM attempt a JOIN scope sc ON sc.run = a.run JOIN step s ON s.scope = sc.id
           WHERE a.run = r.id AND (a.ended_at IS NULL OR a.left_open = 1) AND a.id NOT IN (SELECT l.id FROM live_attempt l)
             AND s.attempt = a.id AND s.status = 'running' AND s.kind <> 'llm') AS in_doubt,
       r.input_tokens, r.output_tokens, r.saved_tokens, r.cost_usd, r.saved_usd, r.error
FROM run r;

CREATE VIEW attempts AS   -- the processes that worked on a run
SELECT CAST(a.id AS TEXT) AS attempt_id,
       r.run_id, a.n, p.pid, p.host,
       @utc(a.started_at) AS started_at,
       @utc(coalesce(a.ended_at, p.last_seen_at)) AS last_seen_at,
       @utc(a.ended_at) AS ended_at,
       a.outcome
FROM attempt a JOIN run r ON r.id = a.run JOIN process p ON p.id = a.process;

CREATE VIEW steps AS   -- every LLM call, tool call and recorded function
SELECT CAST(s.id AS TEXT) AS step_id,
       r.run_id,
       (SELECT t.thread_id FROM thread t WHERE t.id = r.thread) AS thread_id,
       CAST(s.attempt AS TEXT) AS attempt_id,
       sc.name AS scope, sc.node, coalesce(sc.agent, r.agent) AS agent, s.seq,
       CAST(s.parent AS TEXT) AS parent_id,
       s.kind, s.name,
       CASE WHEN s.status <> 'running' OR s.attempt IN (SELECT l.id FROM live_attempt l) THEN s.status
            WHEN s.kind = 'llm' THEN 'failed' ELSE 'in_doubt' END AS status,
       s.reason_code, s.reason, s.effect,
       @utc(s.started_at) AS started_at,
       @utc((s.started_at + s.duration_us / 1000)) AS ended_at,
       s.duration_us / 1000.0 AS duration_ms,
       CASE WHEN s.prompt IS NULL THEN coalesce(s.arguments, (SELECT i.text FROM item i WHERE i.id = s.input))
            ELSE json_object(
                'messages', json((SELECT json_group_array(json(x.text)) FROM (
                    SELECT i.text FROM list_item li JOIN item i ON i.id = li.item
                    WHERE li.list = s.prompt ORDER BY li.position) x)),
                'parameters', json((SELECT i.text FROM item i WHERE i.id = s.input))) END AS input,
       (SELECT i.text FROM item i WHERE i.id = s.output) AS output,
       s.error, s.tool_call_id,
       r.nonce || '-' || coalesce(s.key_scope, sc.key) || '-' || lower(hex(s.fingerprint)) || '-' || s.key_n AS idempotency_key,
       s.model, s.provider, s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens,
       s.reasoning_tokens, s.tokens_source, s.cost_usd,
       (SELECT count(*) FROM replay p WHERE p.step = s.id) AS replays,
       lower(hex(s.fingerprint)) AS fingerprint
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run;

CREATE VIEW llm_calls AS   -- the steps that asked a model
SELECT CAST(s.id AS TEXT) AS step_id,
       r.run_id,
       (SELECT t.thread_id FROM thread t WHERE t.id = r.thread) AS thread_id,
       CAST(s.parent AS TEXT) AS parent_id,
       sc.name AS scope, sc.node, coalesce(sc.agent, r.agent) AS agent,
       s.reason_code, s.model, s.provider,
       CASE WHEN s.status <> 'running' OR s.attempt IN (SELECT l.id FROM live_attempt l) THEN s.status
            ELSE 'failed' END AS status,
       @utc(s.started_at) AS started_at,
       s.duration_us / 1000.0 AS duration_ms,
       (SELECT json_group_array(json(x.text)) FROM (
           SELECT i.text FROM list_item li JOIN item i ON i.id = li.item
           WHERE li.list = s.prompt ORDER BY li.position) x) AS prompt_messages,
       @text(o.text) AS answer,
       json_extract(o.text, '$.tool_calls') AS tool_calls,
       json_extract(o.text, '$.finish_reason') AS finish_reason,
       s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens,
       s.reasoning_tokens, s.tokens_source, s.cost_usd,
       (SELECT count(*) FROM replay p WHERE p.step = s.id) AS replays
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
LEFT JOIN item o ON o.id = s.output
WHERE s.kind = 'llm';

CREATE VIEW tool_calls AS   -- the steps that called a tool
SELECT CAST(s.id AS TEXT) AS step_id,
       r.run_id,
       (SELECT t.thread_id FROM thread t WHERE t.id = r.thread) AS thread_id,
       CAST(s.parent AS TEXT) AS parent_id,
       sc.name AS scope, sc.node, coalesce(sc.agent, r.agent) AS agent,
       s.reason_code, s.name,
       CASE WHEN s.status <> 'running' OR s.attempt IN (SELECT l.id FROM live_attempt l) THEN s.status
            ELSE 'in_doubt' END AS status,
       s.effect,
       coalesce(s.arguments, (SELECT i.text FROM item i WHERE i.id = s.input)) AS args,
       (SELECT CASE json_type(i.text)   -- a tool's own object is shown whole, whatever its keys are
                    WHEN 'object' THEN CASE WHEN i.type <> 'dict' AND json_extract(i.text, '$.role') = 'tool'
                                            THEN @text(i.text) ELSE i.text END
                    WHEN 'text' THEN json_extract(i.text, '$')
                    ELSE i.text END
        FROM item i WHERE i.id = s.output) AS result,
       s.error,
       @utc(s.started_at) AS started_at,
       s.duration_us / 1000.0 AS duration_ms,
       s.tool_call_id,
       r.nonce || '-' || coalesce(s.key_scope, sc.key) || '-' || lower(hex(s.fingerprint)) || '-' || s.key_n AS idempotency_key,
       (SELECT count(*) FROM replay p WHERE p.step = s.id) AS replays
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
WHERE s.kind = 'tool';

CREATE VIEW messages AS   -- what each LLM call was sent (in) and answered (out)
SELECT CAST(m.step AS TEXT) AS step_id,
       r.run_id,
       (SELECT t.thread_id FROM thread t WHERE t.id = r.thread) AS thread_id,
       m.position, m.direction,
       coalesce(json_extract(i.text, '$.role'), CASE m.direction WHEN 'out' THEN 'assistant' END) AS role,
       json_extract(i.text, '$.name') AS name,
       @text(i.text) AS content,
       json_extract(i.text, '$.tool_calls') AS tool_calls,
       json_extract(i.text, '$.tool_call_id') AS tool_call_id
FROM (
    SELECT s.id AS step, s.scope, li.position, 'in' AS direction, li.item
    FROM step s JOIN list_item li ON li.list = s.prompt
    WHERE s.kind = 'llm'
    UNION ALL
    SELECT s.id, s.scope, coalesce((SELECT l.length FROM list l WHERE l.id = s.prompt), 0), 'out', s.output
    FROM step s
    WHERE s.kind = 'llm' AND s.output IS NOT NULL
) m JOIN scope sc ON sc.id = m.scope JOIN run r ON r.id = sc.run
JOIN item i ON i.id = m.item;

CREATE VIEW questions AS   -- what waits or waited for a person
-- A step in doubt is asked about whether somebody has been asked or not.
SELECT CASE q.kind WHEN 'in_doubt' THEN 'step-' || q.step ELSE CAST(q.id AS TEXT) END AS question_id,
       (SELECT r.run_id FROM run r WHERE r.id = q.run) AS run_id,
       (SELECT t.thread_id FROM thread t WHERE t.id = q.thread) AS thread_id,
       (SELECT sc.node FROM scope sc WHERE sc.id = q.scope) AS node,
       CAST(q.step AS TEXT) AS step_id,
       q.kind,
       @utc(q.asked_at) AS asked_at,
       @shown(q.question) AS question,
       @utc(CASE WHEN q.answered_at IS NULL AND q.kind = 'in_doubt' AND s.status <> 'in_doubt' AND s.status <> 'running'
                 THEN coalesce(s.started_at + s.duration_us / 1000, q.asked_at) ELSE q.answered_at END) AS answered_at,
       @shown(q.answer) AS answer
FROM question q LEFT JOIN step s ON s.id = q.step
UNION ALL
SELECT 'step-' || s.id, r.run_id,
       (SELECT t.thread_id FROM thread t WHERE t.id = r.thread),
       sc.node, CAST(s.id AS TEXT), 'in_doubt',
       @utc(coalesce(s.started_at + s.duration_us / 1000, a.ended_at, p.last_seen_at)),
       @doubt, NULL, NULL
FROM doubtful d CROSS JOIN step s ON s.id = d.step JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
JOIN attempt a ON a.id = s.attempt JOIN process p ON p.id = a.process
WHERE s.effect = 'write' AND NOT EXISTS (SELECT 1 FROM question q WHERE q.step = s.id AND q.kind = 'in_doubt');

-- The views below build the conversation. No GROUP BY: SQLite hands a condition on the thread down through
-- windows that are parted by it, and not through groups.

CREATE VIEW message_list AS   -- private: the lists of messages of a thread's states
SELECT t.thread_id, v.list, v.item, c.id AS checkpoint
FROM thread t CROSS JOIN checkpoint c ON c.thread = t.id CROSS JOIN channel_value v ON v.checkpoint = c.id
WHERE c.ns = '' AND c.hidden = 0 AND c.body IS NOT NULL
  AND v.channel = (SELECT ch.id FROM label ch WHERE ch.text = 'messages') AND v.list IS NOT NULL;

CREATE VIEW message_stored AS   -- private: the messages of a thread, as often as they were stored
-- A list that reaches further into its log than all before it has brought what is stored there.
SELECT g.thread_id, g.checkpoint, li.pos, li.item
FROM (SELECT e.thread_id, e.checkpoint, e.log, e.reach,
             max(e.reach) OVER (PARTITION BY e.thread_id, e.log ORDER BY e.checkpoint
                                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS known
      FROM (SELECT m.thread_id, m.checkpoint, l.log,
                   (SELECT max(json_extract(piece.value, '$[1]') + json_extract(piece.value, '$[2]'))
                    FROM json_each(l.pieces) AS piece) AS reach
            FROM message_list m JOIN list l ON l.id = m.list) e) g
CROSS JOIN log_item li ON li.log = g.log AND li.pos >= coalesce(g.known, 0) AND li.pos < g.reach
UNION ALL
SELECT m.thread_id, m.checkpoint, -1, m.item FROM message_list m WHERE m.list = 0;

CREATE VIEW message_current AS   -- private: the messages of the newest state of a thread
SELECT n.thread_id, li.position, li.item
FROM (SELECT t.thread_id, v.list
      FROM thread t CROSS JOIN channel_value v
        ON v.channel = (SELECT ch.id FROM label ch WHERE ch.text = 'messages')
       AND v.checkpoint = (
           SELECT c.id FROM checkpoint c WHERE c.thread = t.id AND c.ns = '' AND c.hidden = 0 AND c.body IS NOT NULL
              AND EXISTS (SELECT 1 FROM channel_value x WHERE x.checkpoint = c.id
                          AND x.channel = (SELECT ch.id FROM label ch WHERE ch.text = 'messages'))
           ORDER BY c.id DESC LIMIT 1)) n
CROSS JOIN list_item li ON li.list = n.list
UNION ALL
SELECT t.thread_id, 0, v.item
FROM thread t CROSS JOIN channel_value v
  ON v.channel = (SELECT ch.id FROM label ch WHERE ch.text = 'messages') AND v.list = 0
 AND v.checkpoint = (
     SELECT c.id FROM checkpoint c WHERE c.thread = t.id AND c.ns = '' AND c.hidden = 0 AND c.body IS NOT NULL
        AND EXISTS (SELECT 1 FROM channel_value x WHERE x.checkpoint = c.id
                    AND x.channel = (SELECT ch.id FROM label ch WHERE ch.text = 'messages'))
     ORDER BY c.id DESC LIMIT 1);

CREATE VIEW message_once AS   -- private: each of them once, with its place in the newest state
SELECT f.thread_id, f.item, f.place, f.checkpoint, f.pos
FROM (SELECT m.thread_id, m.item, m.place,
             min(m.checkpoint) OVER same AS checkpoint, min(m.pos) OVER same AS pos, count(m.place) OVER same AS places,
             row_number() OVER same AS number
      FROM (SELECT w.thread_id, w.item, NULL AS place, w.checkpoint, w.pos FROM message_stored w
            UNION ALL
            SELECT n.thread_id, n.item, n.position, NULL, NULL FROM message_current n) m
      WINDOW same AS (PARTITION BY m.thread_id, m.item)) f
WHERE f.place IS NOT NULL OR (f.places = 0 AND f.number = 1);

CREATE VIEW message_made AS   -- private: the same, with the newest step that made the message, and its first version
-- Steps come along as rows of their own, so that a query about a thread reads its steps alone.
SELECT d.thread_id, d.item, d.place, d.checkpoint, d.pos, d.id, d.made_by,
       min(d.checkpoint) OVER version AS first_checkpoint, first_value(d.pos) OVER version AS first_pos,
       row_number() OVER version AS number, d.id IS NULL OR lead(1) OVER version IS NULL AS is_last
FROM (SELECT k.thread_id, k.item, k.place, k.checkpoint, k.pos, k.id,
             max(k.step) OVER (PARTITION BY k.thread_id, k.made) AS made_by
      FROM (SELECT o.thread_id, o.item, o.place, o.checkpoint, o.pos, json_extract(i.text, '$.id') AS id, NULL AS step,
                   CASE WHEN json_type(i.text, '$.tool_call_id') = 'text'
                        THEN c.run || ' ' || json_extract(i.text, '$.tool_call_id')
                        ELSE coalesce(json_extract(i.text, '$.id'), o.item) END AS made
            FROM message_once o JOIN item i ON i.id = o.item JOIN checkpoint c ON c.id = o.checkpoint
            UNION ALL
            SELECT t.thread_id, NULL, NULL, NULL, NULL, NULL, s.id,
                   CASE WHEN s.kind = 'tool' THEN r.id || ' ' || s.tool_call_id
                        ELSE coalesce(json_extract(i.text, '$.id'), s.output) END
            FROM thread t CROSS JOIN run r ON r.thread = t.id CROSS JOIN scope sc ON sc.run = r.id
            CROSS JOIN step s ON s.scope = sc.id JOIN item i ON i.id = s.output
            WHERE s.kind = 'llm' OR s.tool_call_id IS NOT NULL) k) d
WHERE d.item IS NOT NULL
WINDOW version AS (PARTITION BY d.thread_id, coalesce(d.id, d.item) ORDER BY d.checkpoint, d.pos);

CREATE VIEW conversation_of_states AS   -- private: the conversation of threads with checkpoints
-- What is not in the newest state stands behind what is there and was said before it.
SELECT m.thread_id,
       row_number() OVER (PARTITION BY m.thread_id ORDER BY m.behind, m.place IS NULL, m.first_checkpoint, m.first_pos, m.number) - 1 AS position,
       @utc(c.created_at) AS at,
       coalesce((SELECT r.run_id FROM run r WHERE r.id = c.run), c.run_id) AS run_id,
       CAST(s.id AS TEXT) AS step_id,
       CASE WHEN s.id IS NOT NULL THEN coalesce(sc.agent, (SELECT r.agent FROM run r WHERE r.id = sc.run)) END AS agent,
       json_extract(i.text, '$.role') AS role,
       json_extract(i.text, '$.name') AS name,
       @text(i.text) AS content,
       json_extract(i.text, '$.tool_calls') AS tool_calls,
       json_extract(i.text, '$.tool_call_id') AS tool_call_id,
       CASE WHEN m.place IS NOT NULL THEN 'current' WHEN m.is_last THEN 'removed' ELSE 'edited' END AS status
FROM (SELECT k.*, CASE k.number WHEN 1 THEN k.made_by END AS step,
             coalesce(k.place, max(k.place) OVER (PARTITION BY k.thread_id ORDER BY k.first_checkpoint, k.first_pos, k.number
                                                  ROWS UNBOUNDED PRECEDING), -1) AS behind
      FROM message_made k) m
JOIN item i ON i.id = m.item JOIN checkpoint c ON c.id = m.checkpoint
LEFT JOIN step s ON s.id = m.step LEFT JOIN scope sc ON sc.id = s.scope;

-- Threads without checkpoints, and runs without a thread, have the conversation that their models were sent.
-- SQLite hands a condition down through a UNION ALL only where no window stands in its arms: such arms are views.

CREATE VIEW asked_run AS   -- private: these runs; `alone`: the run, where it has no thread
SELECT t.thread_id, 0 AS alone, r.id AS run, r.agent, r.started_at
FROM thread t CROSS JOIN run r ON r.thread = t.id
WHERE NOT EXISTS (SELECT 1 FROM checkpoint c WHERE c.thread = t.id)
UNION ALL
SELECT NULL, lone.id, lone.id, lone.agent, lone.started_at FROM run lone WHERE lone.thread IS NULL;

CREATE VIEW asked_call AS   -- private: their LLM calls outside tools, each with the next one
-- Each window in a SELECT of its own: two of them would keep a condition on the thread from being handed down.
SELECT q.*, q.step = max(q.step) OVER (PARTITION BY q.thread_id, q.alone, q.agent) AS is_newest
FROM (SELECT k.*, lead(k.list) OVER (PARTITION BY k.thread_id, k.alone, k.run, k.agent ORDER BY k.seq) AS next_of_agent
      FROM (SELECT g.thread_id, g.alone, g.run, g.started_at, coalesce(sc.agent, g.agent) AS agent, s.id AS step, s.seq, s.output,
                   s.prompt AS list, l.length,
                   (SELECT li.item FROM log_item li WHERE li.log = l.log
                       AND li.pos = json_extract(l.pieces, '$[#-1][1]') + json_extract(l.pieces, '$[#-1][2]') - 1) AS last_item,
                   lead(s.prompt) OVER (PARTITION BY g.thread_id, g.alone, g.run ORDER BY s.seq) AS next_of_run
            FROM asked_run g CROSS JOIN scope sc ON sc.run = g.run CROSS JOIN step s ON s.scope = sc.id
            LEFT JOIN step p ON p.id = s.parent LEFT JOIN list l ON l.id = s.prompt
            WHERE s.kind = 'llm' AND s.status <> 'superseded'
              AND (p.id IS NULL OR p.kind = 'function' AND p.parent IS NULL)) k) q;

CREATE VIEW said_in_call AS   -- private: what they were sent and answered, where the next does not hold all of it and more
SELECT a.thread_id, a.alone, a.run, a.started_at, a.step AS call, li.position, li.item, NULL AS step, a.is_newest
FROM asked_call a CROSS JOIN list_item li ON li.list = a.list
WHERE NOT EXISTS (SELECT 1 FROM list n CROSS JOIN list_item x ON x.list = n.id
                  WHERE n.id = a.next_of_agent AND n.length > a.length AND x.item = a.last_item)
UNION ALL
SELECT a.thread_id, a.alone, a.run, a.started_at, a.step, coalesce(a.length, 0), a.output, a.step, a.is_newest
FROM asked_call a
WHERE a.output IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM list n CROSS JOIN list_item x ON x.list = n.id
                  WHERE n.id IN (a.next_of_agent, a.next_of_run) AND n.length > a.length AND x.item = a.last_item);

CREATE VIEW said_once AS   -- private: each of these messages, numbered as often as it was sent
-- What is sent again is known by its words, and by which of the same words in its call it is.
SELECT e.*, max(e.is_newest) OVER same AS is_current, max(e.step) OVER same AS own_step,
       row_number() OVER (PARTITION BY e.thread_id, e.alone, e.role, e.content, e.tool_calls, e.tool_call_id, e.nth ORDER BY e.call) AS number
FROM (SELECT d.*, row_number() OVER (PARTITION BY d.thread_id, d.alone, d.call, d.role, d.content, d.tool_calls, d.tool_call_id
                                     ORDER BY d.position) AS nth
      FROM (SELECT w.*, coalesce(json_extract(i.text, '$.role'), CASE WHEN w.step IS NOT NULL THEN 'assistant' END) AS role,
                   @text(i.text) AS content,
                   json_extract(i.text, '$.tool_calls') AS tool_calls,
                   json_extract(i.text, '$.tool_call_id') AS tool_call_id
            FROM said_in_call w JOIN item i ON i.id = w.item) d
      WHERE d.role IS NOT 'assistant' OR d.content <> '' OR d.tool_calls IS NOT NULL) e
WINDOW same AS (PARTITION BY e.thread_id, e.alone, e.role, e.content, e.tool_calls, e.tool_call_id, e.nth);

CREATE VIEW said_by AS   -- private: each once, with the newest step of its run that made it
-- Steps come along as rows of their own, so that a query about a thread reads its steps alone.
SELECT f.*, coalesce(f.own_step, max(f.maker) OVER (PARTITION BY f.thread_id, f.alone, f.run, f.made)) AS step
FROM (SELECT o.thread_id, o.alone, o.run, o.started_at, o.call, o.position, o.item, o.role, o.is_current, o.own_step, NULL AS maker,
             CASE o.role WHEN 'tool' THEN 'tool ' || o.tool_call_id
                         WHEN 'assistant' THEN 'llm ' || coalesce(json_extract(o.tool_calls, '$[0].id'), o.content) END AS made
      FROM said_once o WHERE o.number = 1
      UNION ALL
      SELECT a.thread_id, a.alone, a.run, NULL, NULL, NULL, NULL, NULL, NULL, NULL, a.step, 'llm ' || @text(i.text)
      FROM asked_call a JOIN item i ON i.id = a.output
      UNION ALL
      SELECT a.thread_id, a.alone, a.run, NULL, NULL, NULL, NULL, NULL, NULL, NULL, a.step,
             'llm ' || json_extract(tool_call.value, '$.id')
      FROM asked_call a JOIN item i ON i.id = a.output CROSS JOIN json_each(i.text, '$.tool_calls') AS tool_call
      UNION ALL
      SELECT g.thread_id, g.alone, g.run, NULL, NULL, NULL, NULL, NULL, NULL, NULL, s.id, 'tool ' || s.tool_call_id
      FROM asked_run g CROSS JOIN scope sc ON sc.run = g.run CROSS JOIN step s ON s.scope = sc.id
      WHERE s.kind = 'tool' AND s.status <> 'superseded' AND s.tool_call_id IS NOT NULL) f;

CREATE VIEW conversation_of_calls AS   -- private: the conversation of threads without checkpoints
SELECT m.thread_id, m.position,
       @utc(m.at) AS at,
       (SELECT r.run_id FROM run r WHERE r.id = m.run) AS run_id,
       CAST(m.step AS TEXT) AS step_id,
       CASE WHEN m.step IS NOT NULL THEN coalesce(m.agent, (SELECT r.agent FROM run r WHERE r.id = m.made_in)) END AS agent,
       m.role,
       json_extract(i.text, '$.name') AS name,
       @text(i.text) AS content,
       json_extract(i.text, '$.tool_calls') AS tool_calls,
       json_extract(i.text, '$.tool_call_id') AS tool_call_id,
       CASE WHEN m.is_current THEN 'current' ELSE 'removed' END AS status
FROM (SELECT k.thread_id, k.run, k.item, k.role, k.is_current, k.step, sc.agent, sc.run AS made_in,
             row_number() OVER said - 1 AS position, max(coalesce(s.started_at, k.started_at)) OVER said AS at
      FROM said_by k LEFT JOIN step s ON s.id = k.step LEFT JOIN scope sc ON sc.id = s.scope
      WHERE k.item IS NOT NULL
      WINDOW said AS (PARTITION BY k.thread_id, k.alone ORDER BY k.call, k.position)) m
JOIN item i ON i.id = m.item;

CREATE VIEW conversation AS   -- each message of a thread once, those that were edited or removed too
SELECT * FROM conversation_of_states
UNION ALL
SELECT * FROM conversation_of_calls;

CREATE VIEW replays AS   -- recorded results handed back instead of a call
SELECT CAST(p.step AS TEXT) AS step_id,
       r.run_id, s.kind, s.name,
       CAST(p.attempt AS TEXT) AS attempt_id,
       @utc(p.at) AS at,
       p.saved_input_tokens, p.saved_output_tokens, p.saved_usd
FROM replay p JOIN attempt a ON a.id = p.attempt JOIN run r ON r.id = a.run LEFT JOIN step s ON s.id = p.step;

CREATE VIEW checkpoints AS   -- the saved states of a graph
SELECT t.thread_id, c.ns AS checkpoint_ns, @uuid(c.checkpoint_id) AS checkpoint_id,
       @uuid(c.parent_id) AS parent_checkpoint_id,
       coalesce(c.run_id, (SELECT r.run_id FROM run r WHERE r.id = c.run)) AS run_id,
       c.step, c.source,
       @utc(c.created_at) AS created_at,
       c.metadata
FROM checkpoint c JOIN thread t ON t.id = c.thread
WHERE c.hidden = 0 AND c.body IS NOT NULL;

CREATE VIEW state AS   -- the channels of each checkpoint, a row for each item of a list
-- Channels of a graph's own, whose names begin with `__` or `branch:to:`, are left out.
-- One SELECT, with `list_item` written out: SQLite would build a UNION ALL, or a view to the right of a LEFT JOIN, for
-- all checkpoints before it looks for one.
SELECT t.thread_id, c.ns AS checkpoint_ns, @uuid(c.checkpoint_id) AS checkpoint_id,
       ch.text AS channel,
       CASE WHEN cv.item IS NULL
            THEN json_extract(piece.value, '$[0]') + li.pos - json_extract(piece.value, '$[1]')
            ELSE cv.list END AS position,
       i.text AS value, i.type
FROM checkpoint c CROSS JOIN channel_value cv ON cv.checkpoint = c.id
JOIN thread t ON t.id = c.thread JOIN label ch ON ch.id = cv.channel
LEFT JOIN list l ON cv.item IS NULL AND l.id = cv.list
LEFT JOIN json_each(l.pieces) AS piece
LEFT JOIN log_item li ON li.log = l.log
 AND li.pos >= json_extract(piece.value, '$[1]') AND li.pos < json_extract(piece.value, '$[1]') + json_extract(piece.value, '$[2]')
JOIN item i ON i.id = coalesce(cv.item, li.item)
WHERE c.hidden = 0 AND substr(ch.text, 1, 2) <> '__' AND substr(ch.text, 1, 10) <> 'branch:to:';

CREATE VIEW spend AS   -- totals by day and model
SELECT day, model, calls, input_tokens, output_tokens, cost_usd, saved_tokens, saved_usd
FROM spend_day;
