-- move: move a session id to another shard, or replace its claim in the same shard.
--
-- KEYS[1]  the entry of the session id in the index
-- ARGV[1]  MessagePack map:
--   retired       the claim that was retired
--   shard         number of the new shard
--   claim         the new claim
--   epoch_above   the next epoch of the session id must be greater
--   kept_ms       time for which the entry is kept
--
-- Returns 1 if the id now has the new claim, 0 if another gateway has moved it meanwhile.
local entry = redis.call('GET', KEYS[1])
local claim = entry and entry:match('^%d+ (%S+) %d+')
if claim == args.claim then return 1 end
if claim and claim ~= args.retired then return 0 end
redis.call('SET', KEYS[1], args.shard .. ' ' .. args.claim .. ' ' .. args.epoch_above,
  'PX', args.kept_ms)
return 1
