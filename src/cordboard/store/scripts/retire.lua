-- retire: takes a session id from this shard, unless it lives here. From here on nothing can be
-- accepted by its claim, however late an accept that was sent before arrives.
-- KEYS[1] the session's record.
-- ARGV session id, its claim, user and tenant of the join ('' for none).
-- Returns {'live', its room} | {'used'} when the id has been another user's | {'retired', the epoch that it had here, or 0}.
local sid, claim = ARGV[1], ARGV[2]
local rec = read(sid)
if rec and LIVE[rec.state] then return { 'live', rec.room_url } end
if rec and not is_owned_by(rec, ARGV[3], ARGV[4]) then return { 'used' } end
redis.call('SET', K.retired_claim .. claim, '1', 'PX', T.retired_kept_ms)
return { 'retired', rec and tonumber(rec.epoch) or 0 }
