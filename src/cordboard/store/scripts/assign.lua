-- assign: hands a queued session to a warm runner, or marks that a cold one is being started.
-- KEYS[1] the session's record.
-- ARGV session id, epoch, 'warm' or 'cold', token of this call, job name (cold) or '',
--      then ids of runners not to choose (warm).
-- Returns {'assigned', runner id, runner url} | {'none'} when no warm runner is free
--      | {'gone', state} when the session is not queued under this epoch any more.
local sid, epoch, kind, token, job = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local now = now_ms()
local rec = read(sid)
if not rec or rec.epoch ~= epoch then return { 'gone', 'replaced' } end
if rec.state == 'starting' and rec.assigned_by == token then
  return { 'assigned', rec.runner_id or '', rec.runner_url or '' }
end
if rec.state ~= 'queued' then return { 'gone', rec.state } end

local refused = {}
for i = 6, #ARGV do refused[ARGV[i]] = true end

-- The freest runner that is alive and has this bot. The list holds live warm runners only.
local function choose()
  local free = redis.call('ZREVRANGEBYSCORE', K.runner_free, '+inf', 1)
  for _, id in ipairs(free) do
    local beat = tonumber(redis.call('ZSCORE', K.runners, id) or '0')
    if beat < now - T.lease_ms then
      redis.call('ZREM', K.runner_free, id)
    elseif not refused[id] and redis.call('HEXISTS', K.runner .. id, 'bot:' .. rec.bot) == 1 then
      return id
    end
  end
end

if kind == 'cold' then
  set(rec, { state = 'starting', type = 'cold', job_name = job, at_starting = now,
    assigned_by = token, runner_id = false, runner_url = false, pid = false })
else
  local id = choose()
  if not id then return { 'none' } end
  redis.call('SADD', K.runner_sessions .. id, sid)
  redis.call('ZINCRBY', K.runner_free, -1, id)
  set(rec, { state = 'starting', type = 'warm', runner_id = id, at_starting = now,
    runner_url = redis.call('HGET', K.runner .. id, 'url'), assigned_by = token,
    job_name = false, pid = false })
  redis.call('ZADD', K.leases, now + T.lease_ms, sid)
end
write_room(rec, now)
publish(rec, now)
return { 'assigned', rec.runner_id or '', rec.runner_url or '' }
