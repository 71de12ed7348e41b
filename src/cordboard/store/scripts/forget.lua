-- forget: removes the record of a session whose id lives on in another shard.
-- KEYS[1] the session's record.
-- ARGV session id, the epoch that it had here.
-- Returns 1 when it was removed.
write_even_when_full()
local rec = read(ARGV[1])
if not rec or LIVE[rec.state] or rec.epoch ~= ARGV[2] then return 0 end
remove(rec)
return 1
