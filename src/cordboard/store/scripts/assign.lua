-- assign: hands a queued session to a warm runner, or marks that a cold one is being started.
-- KEYS[1] the session's record.
-- ARGV session id, epoch, 'warm' or 'cold', token of this call, job name (cold) or '',
--      'spread' or 'pack' (warm), then ids of runners not to choose (warm).
-- Returns {'assigned', runner id, runner url, ms that it was queued} | {'none'} when no warm runner is free
--      | {'gone', state} when the session is not queued under this epoch any more.
local sid, epoch, kind, token, job, placement =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local now = now_ms()
write_even_when_full()
local rec = read(sid)
local function assigned()
  return { 'assigned', rec.runner_id or '', rec.runner_url or '',
    tonumber(rec.at_starting) - tonumber(rec.at_queued) }
end
if not rec or rec.epoch ~= epoch then return { 'gone', 'replaced' } end
if rec.state == 'starting' and rec.assigned_by == token then
  return assigned()
end
-- A cold start whose operator died between this and the start is made again: the same name is
-- the same Job, and of two processes the store lets one run.
if kind == 'cold' and rec.state == 'starting' and rec.job_name == job then
  return assigned()
end
if rec.state ~= 'queued' then return { 'gone', rec.state } end

local refused = {}
for i = 7, #ARGV do refused[ARGV[i]] = true end
local PAGE = 32

local function page(from)
  if placement == 'pack' then
    return redis.call('ZRANGEBYSCORE', K.runner_free, 1, '+inf', 'LIMIT', from, PAGE)
  end
  return redis.call('ZREVRANGEBYSCORE', K.runner_free, '+inf', 1, 'LIMIT', from, PAGE)
end

-- The freest (or fullest) runner that is alive and has this bot. Almost always the first one is.
local function choose()
  local from, dead = 0, {}
  local chosen = nil
  repeat
    local found = page(from)
    for _, id in ipairs(found) do
      local beat = tonumber(redis.call('ZSCORE', K.runners, id) or '0')
      if beat < now - T.lease_ms then
        dead[#dead + 1] = id
      elseif not refused[id] and redis.call('HEXISTS', K.runner .. id, 'bot:' .. rec.bot) == 1 then
        chosen = id
        break
      end
    end
    from = from + PAGE
  until chosen or #found < PAGE
  for _, id in ipairs(dead) do redis.call('ZREM', K.runner_free, id) end
  return chosen
end

if kind == 'cold' then
  set(rec, { state = 'starting', type = 'cold', job_name = job, at_starting = now,
    assigned_by = token, runner_id = false, runner_url = false, pid = false })
  redis.call('ZADD', K.leases, now + T.lease_ms, sid)
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
return assigned()
