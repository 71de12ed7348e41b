-- suspect: make the operators look at a running session now. A hint decides nothing.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id
--   pause_ms     time after a hint for which further hints about the session do nothing
--
-- Returns {state of the session, 1 if the operators were notified} | {'absent'}.
local now = now_ms()
write_even_when_full()
local rec = read(args.session_id)
if not rec then return { 'absent' } end
local last = tonumber(rec.suspected_ms or '0')
-- A clock that a failover has set back must not stop the hints.
if rec.state ~= 'running' or (last <= now and now - last < args.pause_ms) then
  return { rec.state, 0 }
end
set(rec, { suspected_ms = now })
redis.call(PUBLISH, K.suspicions, cjson.encode({ session_id = rec.session_id,
  epoch = tonumber(rec.epoch) }))
return { rec.state, 1 }
