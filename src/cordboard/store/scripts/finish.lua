-- finish: end a live session. A lower epoch than the session's changes nothing.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id, epoch
--   state, reason   the final state and its reason
--   detail          further explanation; may be absent
--   token           random, the same each time that this call is sent
--
-- Returns 1 if this call ended the session, otherwise 0.
write_even_when_full()
local rec = read(args.session_id)
if not rec or tonumber(rec.epoch) ~= args.epoch then return 0 end
if not LIVE[rec.state] then return rec.ended_by == args.token and 1 or 0 end
finish(rec, args.state, args.reason, args.detail, args.token, now_ms())
return 1
