-- Statements that look into JSON, which every database does in its own way.

-- name: step_lines_page
-- The same with values cut to :chars characters: of a prompt the last message, of a message its text.
SELECT v.seq AS page, v.seq, v.step_id, v.parent_id, v.scope, v.node, v.agent, v.model, v.kind, v.name, v.status, v.reason, v.replays,
       v.attempt_id, v.started_at, v.ended_at, v.duration_ms, v.input_tokens, v.output_tokens, v.cost_usd,
       (SELECT group_concat(p.at) FROM replay p WHERE p.step = CAST(v.step_id AS INTEGER)) AS replayed_ms,
       CASE v.kind
           WHEN 'llm' THEN coalesce((
               SELECT substr(@text(i.text), 1, :chars)
               FROM step s JOIN list l ON l.id = s.prompt
               JOIN log_item li ON li.log = l.log
                AND li.pos = json_extract(l.pieces, '$[#-1][1]') + json_extract(l.pieces, '$[#-1][2]') - 1
               JOIN item i ON i.id = li.item
               WHERE s.id = CAST(v.step_id AS INTEGER)), substr(v.input, 1, :chars))
           ELSE substr(v.input, 1, :chars) END AS input,
       substr(coalesce(v.error, (
           SELECT CASE WHEN json_valid(i.text) AND i.type <> 'dict' AND json_type(i.text, '$.role') = 'text'
                       THEN coalesce(nullif(@text(i.text), ''), json_extract(i.text, '$.tool_calls'), i.text)
                       ELSE i.text END
           FROM step s JOIN item i ON i.id = s.output
           WHERE s.id = CAST(v.step_id AS INTEGER))), 1, :chars) AS output
FROM steps v
WHERE v.run_id = :run_id AND v.seq > :cursor AND v.seq <= (
    SELECT max(seq) FROM (
        SELECT s.seq FROM run r JOIN scope sc ON sc.run = r.id JOIN step s ON s.scope = sc.id
        WHERE r.run_id = :run_id AND s.seq > :cursor ORDER BY s.seq LIMIT :limit))
ORDER BY v.seq;

-- name: results_of_other_calls
-- A tool's message names the call that it answers.
SELECT s.id, json_extract(i.text, '$.tool_call_id') AS answers FROM step s JOIN item i ON i.id = s.output
WHERE s.kind = 'tool' AND s.tool_call_id IS NOT NULL AND json_valid(i.text)
  AND i.type <> 'dict' AND json_extract(i.text, '$.role') = 'tool'
  AND json_extract(i.text, '$.tool_call_id') <> s.tool_call_id;

-- name: @has_metadata
-- Each key of :filter must be in the metadata with the same value; null also matches a key that is
-- missing.
NOT EXISTS (
    SELECT 1 FROM json_each(:filter) f
    WHERE NOT EXISTS (
        SELECT 1 FROM json_each(c.metadata) m
        WHERE m.key = f.key AND m.value IS f.value
          AND (m.type = f.type OR (m.type IN ('integer', 'real') AND f.type IN ('integer', 'real'))))
      AND NOT (f.type = 'null' AND NOT EXISTS (
        SELECT 1 FROM json_each(c.metadata) m WHERE m.key = f.key)))

-- name: prompt_items
-- The messages of the prompts of a run, or of one step of it.
SELECT s.seq, (SELECT p.text FROM item p WHERE p.id = s.input) AS parameters, li.position, li.item, i.text,
       json_extract(i.text, '$.role') AS role
FROM run r JOIN scope sc ON sc.run = r.id JOIN step s ON s.scope = sc.id
JOIN list_item li ON li.list = s.prompt JOIN item i ON i.id = li.item
WHERE r.run_id = :run_id AND (:seq IS NULL OR s.seq = :seq)
ORDER BY s.seq, li.position;
