-- finish: brings a live session to its terminal state; a lower epoch than its own changes nothing.
-- KEYS[1] the session's record.
-- ARGV session id, epoch, state, reason, detail, token of this call.
-- Returns 1 when this call ended it, else 0.
local sid, epoch, state, reason, detail, token =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
write_even_when_full()
local rec = read(sid)
if not rec or rec.epoch ~= epoch then return 0 end
if not LIVE[rec.state] then return rec.ended_by == token and 1 or 0 end
finish(rec, state, reason, detail, token, now_ms())
return 1
