-- assign: hand a queued session to a warm runner, or mark that a cold runner is being started.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id, epoch
--   token         random, the same each time that this call is sent
--   job_name      name of the cold start; absent: choose a warm runner
--   placement     'spread' or 'pack' (warm)
--   excluded      ids of runners that must not be chosen (warm)
--
-- Returns {'assigned', runner id, runner url, ms spent in the queue}
--      | {'none'}: no warm runner is free
--      | {'gone', state}: the session is no longer queued with this epoch.
local sid, job_name = args.session_id, args.job_name
local now = now_ms()
write_even_when_full()
local rec = read(sid)
local function assigned()
  return { 'assigned', rec.runner_id or '', rec.runner_url or '',
    tonumber(rec.at_starting) - tonumber(rec.at_queued) }
end
if not rec or tonumber(rec.epoch) ~= args.epoch then return { 'gone', 'replaced' } end
if rec.state == 'starting' and rec.assigned_by == args.token then
  return assigned()
end
-- The operator died between this decision and the start, so a cold start is repeated: Kubernetes treats
-- the same name as the same Job, and of two processes `running` admits one.
if job_name and rec.state == 'starting' and rec.job_name == job_name then
  return assigned()
end
if rec.state ~= 'queued' then return { 'gone', rec.state } end

local excluded = {}
for _, id in ipairs(args.excluded) do excluded[id] = true end
local PAGE = 32

local function page(from)
  if args.placement == 'pack' then
    return redis.call('ZRANGEBYSCORE', K.runner_free, 1, '+inf', 'LIMIT', from, PAGE)
  end
  return redis.call('ZREVRANGEBYSCORE', K.runner_free, '+inf', 1, 'LIMIT', from, PAGE)
end

-- Return the runner with most (pack: fewest) free slots that is alive and has the bot. It is almost
-- always the first one.
local function choose()
  local from, dead = 0, {}
  local chosen = nil
  repeat
    local ids = page(from)
    for _, id in ipairs(ids) do
      local beat = tonumber(redis.call('ZSCORE', K.runners, id) or '0')
      if beat < now - T.lease_ms then
        dead[#dead + 1] = id
      elseif not excluded[id] and redis.call('HEXISTS', K.runner .. id, 'bot:' .. rec.bot) == 1 then
        chosen = id
        break
      end
    end
    from = from + PAGE
  until chosen or #ids < PAGE
  for _, id in ipairs(dead) do redis.call('ZREM', K.runner_free, id) end
  return chosen
end

if job_name then
  set(rec, { state = 'starting', type = 'cold', job_name = job_name, at_starting = now,
    assigned_by = args.token, runner_id = false, runner_url = false, pid = false })
  redis.call('ZADD', K.leases, now + T.lease_ms, sid)
else
  local id = choose()
  if not id then return { 'none' } end
  redis.call('SADD', K.runner_sessions .. id, sid)
  redis.call('ZINCRBY', K.runner_free, -1, id)
  set(rec, { state = 'starting', type = 'warm', runner_id = id, at_starting = now,
    runner_url = redis.call('HGET', K.runner .. id, 'url'), assigned_by = args.token,
    job_name = false, pid = false })
  redis.call('ZADD', K.leases, now + T.lease_ms, sid)
end
write_room(rec, now)
publish(rec, now)
return assigned()
