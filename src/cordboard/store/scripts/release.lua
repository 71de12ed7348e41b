-- release: remove a claim of a session id that no accepted join uses and no other join shares.
--
-- KEYS[1]  the entry of the session id in the index
-- ARGV[1]  MessagePack map:
--   entry    the entry as it was written
--
-- Returns 1 if the entry was removed, otherwise 0.
if redis.call('GET', KEYS[1]) ~= args.entry then return 0 end
return redis.call('DEL', KEYS[1])
