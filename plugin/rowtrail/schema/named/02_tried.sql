-- calls with these arguments
-- :tool name; :args JSON that the arguments hold, or a part of their text
SELECT started_at, run_id, step_id, name, status, substr(args, 1, 200) AS args,
       substr(coalesce(error, result), 1, 300) AS outcome, replays
FROM tool_calls AS t
WHERE (:tool IS NULL OR name = :tool)
  AND (:args IS NULL OR instr(args, :args)
       OR (json_valid(args) AND json_valid(:args) AND NOT EXISTS (
           SELECT 1 FROM json_each(CASE WHEN json_valid(:args) THEN :args ELSE '{}' END) AS wanted
           WHERE NOT EXISTS (SELECT 1 FROM json_each(t.args) AS given
                             WHERE given.key = wanted.key AND given.value = wanted.value))))
ORDER BY started_at DESC
LIMIT 50
