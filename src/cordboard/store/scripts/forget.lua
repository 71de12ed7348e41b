-- forget: remove the record of an ended session whose id has moved to another shard.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id
--   epoch        the epoch that the session had in this shard
--
-- Returns 1 if the record was removed, otherwise 0.
write_even_when_full()
local rec = read(args.session_id)
if not rec or LIVE[rec.state] or tonumber(rec.epoch) ~= args.epoch then return 0 end
remove(rec)
return 1
