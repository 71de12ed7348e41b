-- move: gives a session id to another shard, or a new claim to the same one.
-- KEYS[1] the id's entry of the index.
-- ARGV the claim that was retired, number of the new shard, its claim, an epoch that the id's next
--      one must exceed, ms to keep it.
-- Returns 1 when the id is the new claim's, 0 when somebody else has moved it meanwhile.
local from, shard, claim, floor, kept_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local found = redis.call('GET', KEYS[1])
local its_claim = found and found:match('^%d+ (%S+) %d+')
if its_claim == claim then return 1 end
if its_claim and its_claim ~= from then return 0 end
redis.call('SET', KEYS[1], shard .. ' ' .. claim .. ' ' .. floor, 'PX', kept_ms)
return 1
