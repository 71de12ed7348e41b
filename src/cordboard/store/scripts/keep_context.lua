-- keep_context: keep what was said in a session, encrypted, for the bot process that continues it.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id, epoch
--   runner_id    the runner that must hold the session
--   context      the encrypted text
--
-- Unlike the scripts that end sessions, this one does not write when Redis has reached its memory limit.
--
-- Returns 1, or 0: the session has ended, is queued again, or another runner holds it.
local sid = args.session_id
local rec = redis.call('HMGET', KEYS[1], 'epoch', 'state', 'runner_id', 'deadline_s', 'max_duration_s')
if tonumber(rec[1]) ~= args.epoch or rec[2] ~= 'running' or rec[3] ~= args.runner_id then
  return 0
end
-- The longest time from now until another bot process runs: this one may run for max_duration_s, and the next
-- one has deadline_s to start. The end of the session deletes the key before.
local kept_s = tonumber(rec[4]) + tonumber(rec[5] or 0)
redis.call('SET', context_key(sid), args.context, 'PX', string.format('%.0f', kept_s * 1000))
return 1
