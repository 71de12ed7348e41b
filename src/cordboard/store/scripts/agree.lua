-- agree: compares a part's settings with those of the parts that run; the first one's count.
-- KEYS[1] the settings agreed upon.
-- ARGV the part, ms after which it is forgotten, ms to keep the settings, '1' to replace those of parts
--      that are all gone, then names and values of its settings.
-- Returns {'agreed'}
--      | {'differs', {name, their value, ...}, {some of the parts that run by them}}
--      | {'left', {name, their value, ...}} when no part runs by them any more.
local part, forgotten_ms, kept_ms, replaces =
  ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
write_even_when_full()
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', K.parts, '-inf', now)
local differing = {}
for i = 5, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  if known and known ~= ARGV[i + 1] then
    differing[#differing + 1] = ARGV[i]
    differing[#differing + 1] = known
  end
end
if #differing > 0 then
  redis.call('ZREM', K.parts, part)
  local others = redis.call('ZRANGE', K.parts, 0, 2)
  if #others > 0 then return { 'differs', differing, others } end
  if not replaces then return { 'left', differing } end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], kept_ms)
redis.call('ZADD', K.parts, now + forgotten_ms, part)
redis.call('PEXPIRE', K.parts, kept_ms)
return { 'agreed' }
