"""The rules of `counters` in Lua. Every script returns -1 first if its epoch belongs to another run of Redis.

KEYS: the epoch, then two for each counter: the counter itself and, for money, a sorted set of the requests with
reservations, by lease end. A hash next to it has their amounts: below 0 for an expired lease, 0 for a request that was
admitted elsewhere and has been settled. Money is a hash: `e` is the epoch, `b` the first use, `seeded` the opening
balance, `r` the reserved amount, and `p0`, `p1`, ... the spending by part. Slots are a sorted set by lease end, which
also contains the epoch.
"""

# KEYS: the epoch; ARGV: the old epoch, and a new one. Returns the valid one: of two gateways the first wins.
NEW_EPOCH = """
local now = redis.call('GET', KEYS[1]) or ''
if now == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) now = ARGV[2] end
return now
"""

_COMMON = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {-1} end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
-- Without the sign of a zero, which Redis would not take.
local function whole(n) return string.format('%.0f', n + 0) end
local function money(key, side, window, parts)
  if redis.call('HGET', key, 'e') ~= ARGV[1] then
    redis.call('DEL', key, side, side .. 'm')
    redis.call('HSET', key, 'e', ARGV[1], 'b', whole(now))
  end
  local part = 0
  if window > 0 then part = math.floor(now / window) end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', side, '-inf', whole(now))) do
    local amount = tonumber(redis.call('HGET', side .. 'm', id) or '0')
    redis.call('HINCRBY', key, 'r', whole(-amount))
    redis.call('HINCRBY', key, 'p' .. whole(part), whole(amount))
    redis.call('ZREM', side, id)
    redis.call('HDEL', side .. 'm', id)
    if amount > 0 then redis.call('HSET', side .. 'm', id, whole(-amount)) end
  end
  local spent, reserved = 0, 0
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local name, value = all[i], tonumber(all[i + 1])
    if name == 'r' then reserved = value
    elseif name ~= 'e' and name ~= 'seeded' and name ~= 'b' then
      if window > 0 and tonumber(string.sub(name, 2)) < part - parts then redis.call('HDEL', key, name)
      else spent = spent + value end
    end
  end
  return spent, reserved, part
end
local function slots(key)
  local mark = 'epoch ' .. ARGV[1]
  if not redis.call('ZSCORE', key, mark) then
    redis.call('DEL', key)
    redis.call('ZADD', key, '+inf', mark)
    redis.call('EXPIRE', key, 1000)
  end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(now))
  return redis.call('ZCARD', key) - 1
end
local function keep(key, side, window, ends)
  local ttl = 90000
  if window > 0 then ttl = math.ceil(window * 34 / 1000000)
  elseif ends > now then ttl = math.ceil((ends - now) / 1000000) + 90000 end
  ttl = math.max(ttl, 1000)
  redis.call('EXPIRE', key, ttl)
  redis.call('EXPIRE', side, ttl)
  redis.call('EXPIRE', side .. 'm', ttl)
end
"""

# ARGV: epoch, request, lease, parts, then for each counter kind, limit, window, amount, hard, end of its period.
# Returns whether the request was admitted, then for each counter what is left, its reset time and the wait.
RESERVE = (
    _COMMON
    + """
local id, lease, parts = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local out, after, admitted = {1}, {}, true
local n = (#ARGV - 4) / 6
for i = 1, n do
  local a = 4 + (i - 1) * 6
  local kind, limit, window = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local amount, ends = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 6])
  local key, side = KEYS[2 * i], KEYS[2 * i + 1]
  local left, reset, wait = 0, 0, 0
  if kind == 0 then
    local before = tonumber(redis.call('GET', key) or '0')
    if before < now then before = now end
    after[i] = before + math.ceil(window * amount / limit)
    wait = math.max(0, after[i] - window - now)
    local at = after[i]
    if wait > 0 then at = before end
    left = math.max(0, math.floor((window - (at - now)) * limit / window))
    reset = at - now
  elseif kind == 1 then
    left = limit - slots(key)
    if not redis.call('ZSCORE', key, id) then left = left - 1 end
    if left < 0 then left, wait = 0, 1000000 end
  else
    local spent, reserved = money(key, side, window, parts)
    reset = window
    if window == 0 then reset = math.max(1, ends - now) end
    left = limit - spent - reserved - amount
    if left < 0 then left, wait = math.max(0, left + amount), math.max(1, reset) end
  end
  out[#out + 1], out[#out + 2], out[#out + 3] = left, reset, wait
  if wait > 0 and ARGV[a + 5] == '1' then admitted = false end
end
if not admitted then out[1] = 0 return out end
for i = 1, n do
  local a = 4 + (i - 1) * 6
  local kind, window, wait = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 3]), out[i * 3 + 1]
  local key, side = KEYS[2 * i], KEYS[2 * i + 1]
  if kind == 0 then
    if wait == 0 then redis.call('SET', key, whole(after[i]), 'PX', math.ceil((after[i] - now) / 1000) + 1) end
  elseif kind == 1 then
    if wait == 0 then
      redis.call('ZADD', key, whole(now + lease), id)
      redis.call('PEXPIRE', key, math.ceil(lease / 1000) + 1000)
    end
  else
    local over = tonumber(redis.call('HGET', side .. 'm', id) or '0')
    if over < 0 then
      -- The lease expired and the request continues: the amount counted as spent is reserved again.
      local part = 0
      if window > 0 then part = math.floor(now / window) end
      redis.call('HINCRBY', key, 'p' .. whole(part), whole(over))
      redis.call('HINCRBY', key, 'r', whole(-over))
      redis.call('HSET', side .. 'm', id, whole(-over))
    end
    redis.call('HINCRBY', key, 'r', ARGV[a + 4])
    redis.call('HINCRBY', side .. 'm', id, ARGV[a + 4])
    redis.call('ZADD', side, whole(now + lease), id)
    keep(key, side, window, tonumber(ARGV[a + 6]))
  end
end
return out
"""
)

# ARGV: epoch, request, then for each counter kind, limit, window, reserved, actual, end of its period. Returns for
# each money counter the spending before and after, and the reserved amount.
SETTLE = (
    _COMMON
    + """
local id, out = ARGV[2], {1}
for i = 1, (#ARGV - 2) / 6 do
  local a = 2 + (i - 1) * 6
  local kind, limit, window = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local reserved, actual = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5])
  local key, side = KEYS[2 * i], KEYS[2 * i + 1]
  if kind == 0 then
    local at = tonumber(redis.call('GET', key) or '0')
    local new = at + math.floor(window * (actual - reserved) / limit)
    if at > 0 and new > now then redis.call('SET', key, whole(new), 'PX', math.ceil((new - now) / 1000) + 1)
    elseif at > 0 then redis.call('DEL', key) end
  elseif kind == 1 then
    redis.call('ZREM', key, id)
  else
    local spent, held, part = money(key, side, window, 32)
    local kept = redis.call('HGET', side .. 'm', id)
    if redis.call('ZREM', side, id) == 1 then
      redis.call('HINCRBY', key, 'r', whole(-tonumber(kept)))
      redis.call('HDEL', side .. 'm', id)
      held = held - tonumber(kept)
    elseif kept and tonumber(kept) < 0 then
      -- It was counted in full when its lease ran out: what was too much comes back.
      actual = actual + tonumber(kept)
      redis.call('HDEL', side .. 'm', id)
    elseif reserved == 0 and actual > 0 and not kept then
      -- The request was admitted elsewhere, and is settled now.
      redis.call('HSET', side .. 'm', id, '0')
    else
      -- The request was settled before.
      actual = 0
    end
    redis.call('HINCRBY', key, 'p' .. whole(part), whole(actual))
    keep(key, side, window, tonumber(ARGV[a + 6]))
    out[#out + 1], out[#out + 2], out[#out + 3] = spent, spent + actual, held
  end
end
return out
"""
)

# ARGV: epoch, request, lease, then for each counter kind, amount, window, end: existing reservations of a gateway.
REGISTER = (
    _COMMON
    + """
local id, lease = ARGV[2], tonumber(ARGV[3])
for i = 1, (#ARGV - 3) / 4 do
  local a = 3 + (i - 1) * 4
  local kind, amount, window = tonumber(ARGV[a + 1]), ARGV[a + 2], tonumber(ARGV[a + 3])
  local key, side = KEYS[2 * i], KEYS[2 * i + 1]
  if kind == 1 then
    slots(key)
    redis.call('ZADD', key, whole(now + lease), id)
    redis.call('PEXPIRE', key, math.ceil(lease / 1000) + 1000)
  elseif kind == 2 then
    money(key, side, window, 32)
    if redis.call('ZADD', side, 'NX', whole(now + lease), id) == 1 then
      redis.call('HINCRBY', key, 'r', amount)
      redis.call('HSET', side .. 'm', id, amount)
    end
    keep(key, side, window, tonumber(ARGV[a + 4]))
  end
end
return {1}
"""
)

# KEYS: the epoch, the money counter; ARGV: epoch, the opening balance, the window of a rolling budget (the balance goes
# to the current part), the end of a calendar period, and for a budget that is new in this run the time that the balance
# covers: a budget first used before that time has counted it.
SEED = (
    _COMMON
    + """
local window = tonumber(ARGV[3])
local _, _, part = money(KEYS[2], KEYS[2] .. ':r', window, 32)
local known = tonumber(redis.call('HGET', KEYS[2], 'seeded') or '0')
local more, before = tonumber(ARGV[2]) - known, tonumber(ARGV[5])
if before > 0 and (known > 0 or tonumber(redis.call('HGET', KEYS[2], 'b') or '0') < before) then more = 0 end
if more > 0 then
  redis.call('HSET', KEYS[2], 'seeded', ARGV[2])
  redis.call('HINCRBY', KEYS[2], 'p' .. whole(part), whole(more))
end
keep(KEYS[2], KEYS[2] .. ':r', window, tonumber(ARGV[4]))
return {1}
"""
)
