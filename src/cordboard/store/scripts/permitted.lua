-- permitted: tries what all scripts and the store itself need of the server's user.
-- KEYS[1] a key that nothing is kept in.
-- ARGV one name of each kind of key.
-- Returns what is missing: names of commands, and beginnings of keys.
local key, missing = KEYS[1], {}
local COMMANDS = {
  { 'DEL', key }, { 'SET', key, '1', 'PX', '1000' }, { 'GET', key }, { 'EXISTS', key },
  { 'PEXPIRE', key, '1000' }, { 'PTTL', key }, { 'DEL', key },
  { 'HSET', key, 'a', '1' }, { 'HGET', key, 'a' }, { 'HMGET', key, 'a' }, { 'HGETALL', key },
  { 'HEXISTS', key, 'a' }, { 'HDEL', key, 'a' }, { 'DEL', key },
  { 'SADD', key, 'a' }, { 'SCARD', key }, { 'SRANDMEMBER', key, '1' }, { 'SREM', key, 'a' }, { 'DEL', key },
  { 'ZADD', key, '1', 'a' }, { 'ZINCRBY', key, '1', 'a' }, { 'ZSCORE', key, 'a' },
  { 'ZRANGE', key, '0', '0' }, { 'ZRANGEBYSCORE', key, '1', '1' },
  { 'ZREVRANGEBYSCORE', key, '1', '1' }, { 'ZCARD', key }, { 'ZCOUNT', key, '1', '1' },
  { 'ZREMRANGEBYSCORE', key, '1', '1' }, { 'ZREM', key, 'a' }, { 'DEL', key },
  { 'XGROUP', 'CREATE', key, 'a', '0', 'MKSTREAM' }, { 'XADD', key, '1-1', 'a', '1' },
  { 'XREADGROUP', 'GROUP', 'a', 'a', 'STREAMS', key, '>' }, { 'XLEN', key },
  { 'XRANGE', key, '-', '+', 'COUNT', '1' }, { 'XPENDING', key, 'a', '-', '+', '1' },
  { 'XCLAIM', key, 'a', 'a', '0', '1-1' }, { 'XAUTOCLAIM', key, 'a', 'a', '0', '0' },
  { 'XINFO', 'CONSUMERS', key }, { 'XACK', key, 'a', '1-1' }, { 'XDEL', key, '1-1' },
  { 'XTRIM', key, 'MAXLEN', '0' }, { 'DEL', key }, { 'TIME' }, { PUBLISH, K.changes .. '?', '' },
}
local function is_denied(answer)
  local words = type(answer) == 'table' and answer.err or ''
  return words:find('NOPERM', 1, true) or words:find("user executing the script can't", 1, true)
    or words:find('ACL failure', 1, true)
end
local told = {}
for _, command in ipairs(COMMANDS) do
  if is_denied(redis.pcall(unpack(command))) and not told[command[1]] then
    told[command[1]] = true
    missing[#missing + 1] = command[1]
  end
end
if told.DEL then return missing end
for _, name in ipairs(ARGV) do
  if is_denied(redis.pcall('DEL', name)) then
    missing[#missing + 1] = '~' .. name:match('^[^:]+:') .. '*'
  end
end
return missing
