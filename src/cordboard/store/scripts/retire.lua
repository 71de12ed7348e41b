-- retire: takes a session id from this shard, unless it lives here. From here on nothing can be
-- accepted by its claim, however late an accept that was sent before arrives.
-- KEYS[1] the session's record.
-- ARGV session id, its claim.
-- Returns {'live', its room} | {'retired', the epoch that it had here, or 0}.
local sid, claim = ARGV[1], ARGV[2]
local rec = read(sid)
if rec and LIVE[rec.state] then return { 'live', rec.room_url } end
redis.call('SET', K.retired_claim .. claim, '1', 'PX', T.record_kept_ms)
return { 'retired', rec and tonumber(rec.epoch) or 0 }
