-- retire: take a session id away from this shard, unless the session is live here. From here on no join
-- with the old claim can be accepted, however late it arrives.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id
--   claim                 the claim of the session id
--   user_id, tenant_id    of the join; may be absent
--
-- Returns {'live', room} | {'used'}: the session id belonged to another user
--      | {'retired', epoch that the session had here, or 0}.
local rec = read(args.session_id)
if rec and LIVE[rec.state] then return { 'live', rec.room_url } end
if rec and not is_owned_by(rec, args.user_id, args.tenant_id) then return { 'used' } end
redis.call('SET', K.retired_claim .. args.claim, '1', 'PX', T.retired_kept_ms)
return { 'retired', rec and tonumber(rec.epoch) or 0 }
