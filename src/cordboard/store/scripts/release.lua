-- release: gives a claim back by which nothing came, unless another join goes by it, too.
-- KEYS[1] the id's entry of the index.
-- ARGV the entry as it was written.
-- Returns 1 when the id is in no shard any more.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
