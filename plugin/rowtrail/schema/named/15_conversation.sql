-- what was said
-- :thread id, without it the last active; :after a position, for the messages behind it
SELECT position, at, role, coalesce(agent, name) AS who, substr(content, 1, 500) AS content,
       substr(nullif(tool_calls, '[]'), 1, 300) AS tool_calls, status, run_id, step_id
FROM conversation
WHERE thread_id = coalesce(:thread, (SELECT thread_id FROM threads ORDER BY last_at DESC, thread_id LIMIT 1))
  AND position > CAST(coalesce(:after, -1) AS INTEGER)
ORDER BY position
LIMIT 200
