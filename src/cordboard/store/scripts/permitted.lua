-- permitted: try each command and each kind of key that the scripts and the store need.
--
-- KEYS[1]  a key that holds nothing
-- ARGV[1]  MessagePack map:
--   keys     one sample key of each kind
--
-- Returns what the user of the connection lacks: names of commands, and patterns of keys.
local key, missing = KEYS[1], {}
local COMMANDS = {
  { 'DEL', key }, { 'SET', key, '1', 'PX', '1000' }, { 'GET', key }, { 'EXISTS', key },
  { 'PEXPIRE', key, '1000' }, { 'PTTL', key }, { 'DEL', key },
  { 'HSET', key, 'a', '1' }, { 'HGET', key, 'a' }, { 'HMGET', key, 'a' }, { 'HGETALL', key },
  { 'HEXISTS', key, 'a' }, { 'HDEL', key, 'a' }, { 'DEL', key },
  { 'SADD', key, 'a' }, { 'SCARD', key }, { 'SMEMBERS', key }, { 'SRANDMEMBER', key, '1' }, { 'SREM', key, 'a' }, { 'DEL', key },
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
-- Redis 6.2 reports a denial in a script as "the user executing the script can't ...".
local function is_denied(answer)
  local message = type(answer) == 'table' and answer.err or ''
  return message:find('NOPERM', 1, true) or message:find("user executing the script can't", 1, true)
    or message:find('ACL failure', 1, true)
end
local denied = {}
for _, command in ipairs(COMMANDS) do
  if is_denied(redis.pcall(unpack(command))) and not denied[command[1]] then
    denied[command[1]] = true
    missing[#missing + 1] = command[1]
  end
end
if denied.DEL then return missing end
for _, name in ipairs(args.keys) do
  if is_denied(redis.pcall('DEL', name)) then
    missing[#missing + 1] = '~' .. name:match('^[^:]+:') .. '*'
  end
end
return missing
