-- Envoy's Lua filter for requests to Triton that are complete. It refuses what Triton itself would
-- take, and be hurt by: deadlines that are nearly over, compressed messages, models that are not
-- offered, and tensors whose shapes lie. What it lets through, it says the work of, for the rate
-- that comes next. Of a message it reads the few bytes that tell.

-- What a client may infer with, and its work in clicks, as measured on a CPU (docs/performance.md);
-- a decoder's and a click's count for each prompt. Not `slimsam`: Triton computes an ensemble's
-- requests even when nobody waits for them, and the Python client does not need it.
local WORK = {
  slimsam_encoder = 50,
  slimsam_decoder = 1,
  slimsam_decoder_bulk = 1,
  slimsam_automatic = 1000,
  slimsam_image = 50,
  slimsam_click = 1,
  slimsam_info = 1,
}
local DECODERS = { slimsam_decoder = true, slimsam_decoder_bulk = true }
-- More prompts than that are answered without being computed.
local MAX_PROMPTS = 16
-- Of a click's JSON, above which the server refuses it; and the inputs that a click may have.
local MAX_PROMPT_BYTES = 65536
local MAX_CONTENTS = 3
-- Of one tensor; the largest that the contract has is an image, of 3,145,728.
local MAX_ELEMENTS = 4194304
local MAX_RANK = 8
-- Of a message, with those within its fields; the contract's have about fifty. It bounds the time
-- that reading one takes.
local MAX_FIELDS = 256
-- Tritonserver 2.51 can end when a deadline passes as its request arrives.
local MIN_SECONDS = 0.05

local SECONDS = { H = 3600, M = 60, S = 1, m = 1e-3, u = 1e-6, n = 1e-9 }
local GRPC_STATUS = {
  INVALID_ARGUMENT = "3",
  DEADLINE_EXCEEDED = "4",
  PERMISSION_DENIED = "7",
  UNIMPLEMENTED = "12",
}
local VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

-- Reads protobuf's variable-length number at `at` of a string; gives it and the position behind it,
-- or nil. Above 2^53 a number is not exact, and far above every limit here.
local function varint(bytes, at)
  local value, factor = 0, 1
  for position = at, math.min(at + 9, #bytes) do
    local byte = bytes:byte(position)
    value = value + byte % 128 * factor
    if byte < 128 then
      return value, position + 1
    end
    factor = factor * 128
  end
  return nil
end

local fields_left = 0

-- Calls visit(number, wire type, from, to) for each field of the message that lies in the buffer
-- from `from` to before `to`, until it gives a reason to refuse; gives that.
local function walk(buffer, from, to, visit)
  local at = from
  while at ~= to do
    if fields_left == 0 then
      return "more than " .. MAX_FIELDS .. " fields"
    end
    fields_left = fields_left - 1
    local head = buffer:getBytes(at, math.min(20, to - at))
    local tag, behind = varint(head, 1)
    -- A tag has 32 bits; what has more might be read as another one elsewhere.
    if tag == nil or tag >= 4294967296 then
      return "a message that is damaged"
    end
    local wire = tag % 8
    local first = at + behind - 1
    local last
    if wire == VARINT then
      local _, next = varint(head, behind)
      last = next and at + next - 1
    elseif wire == FIXED64 then
      last = first + 8
    elseif wire == FIXED32 then
      last = first + 4
    elseif wire == BYTES then
      local length, next = varint(head, behind)
      first = next and at + next - 1
      last = next and first + length
    end
    if last == nil or last > to then
      return "a message that is damaged"
    end
    local reason = visit((tag - wire) / 8, wire, first, last)
    if reason then
      return reason
    end
    at = last
  end
  return nil
end

-- Whether an entry of the map `parameters` is of this key, its field 1.
local function has_key(buffer, from, to, wanted)
  local found = false
  local reason = walk(buffer, from, to, function(number, wire, first, last)
    found = found or number == 1 and buffer:getBytes(first, math.min(last - first, 64)) == wanted
  end)
  return reason, found
end

-- A region of memory that a client of the server's own host has registered; to all others it is
-- somebody else's.
local function names_memory(buffer, from, to)
  local reason, found = has_key(buffer, from, to, "shared_memory_region")
  return reason or found and "a name of shared memory" or nil
end

-- How many objects the JSON of a click may ask for: as many as one of its lists has lists, which are
-- the objects, or the points of one object. What has brackets elsewhere is refused by the server.
local function objects_in(text)
  local depth, count, most = 0, 0, 1
  for bracket in text:gmatch("[%[%]]") do
    depth = depth + (bracket == "[" and 1 or -1)
    if bracket == "[" and depth == 1 then
      count = 0
    elseif bracket == "[" and depth == 2 then
      count = count + 1
      most = math.max(most, count)
    end
  end
  return math.min(most, MAX_PROMPTS)
end

local contents_left = 0

-- The objects in the contents of a tensor, if they may be a click's JSON.
local function read_content(buffer, from, to)
  if contents_left == 0 or to - from > MAX_PROMPT_BYTES + 4 then -- four bytes have its length
    return 1
  end
  contents_left = contents_left - 1
  return objects_in(buffer:getBytes(from, to - from))
end

-- Reads a tensor, ModelInferRequest.InferInputTensor: `name` is its field 1, `shape` its field 3,
-- packed or not, `parameters` its field 4, `contents` its field 5, whose `bytes_contents` are field
-- 8. Gives a reason to refuse it, or nil, its name, its shape, and the objects in its contents.
local function read_tensor(buffer, from, to)
  local name, shape, elements, objects = "", {}, 1, 1
  local reason = walk(buffer, from, to, function(number, wire, first, last)
    if number == 1 then
      name = buffer:getBytes(first, math.min(last - first, 64))
    elseif number == 4 then
      return names_memory(buffer, first, last)
    elseif number == 5 and wire == BYTES then
      return walk(buffer, first, last, function(field, kind, start, stop)
        if field == 8 and kind == BYTES then
          objects = math.max(objects, read_content(buffer, start, stop))
        end
      end)
    elseif number == 3 then
      if (wire ~= BYTES and wire ~= VARINT) or last - first > 10 * MAX_RANK then
        return "a shape that is none"
      end
      local dims = buffer:getBytes(first, last - first)
      local at = 1
      while at <= #dims do
        local size, next = varint(dims, at)
        if size == nil then
          return "a shape that is none"
        end
        at = next
        shape[#shape + 1] = size
        -- Negative ones are above 2^63 here. Of an empty tensor the other sizes count, too.
        elements = elements * math.max(size, 1)
        if size > MAX_ELEMENTS or elements > MAX_ELEMENTS or #shape > MAX_RANK then
          return "a shape of more than " .. MAX_ELEMENTS .. " elements or " .. MAX_RANK .. " axes"
        end
      end
    end
  end)
  return reason, name, shape, objects
end

-- Reads a ModelInferRequest: `model_name` is its field 1, `inputs` its field 5, `outputs` its field
-- 6, of which each has `parameters` as field 2, and `raw_input_contents` its field 7. Gives a reason
-- to refuse it, or nil, and its work in clicks, or nil for a model that is not offered.
local function read_request(buffer, from, to)
  fields_left = MAX_FIELDS
  contents_left = MAX_CONTENTS
  local model, forbidden, prompts, objects = nil, false, 1, 1
  local reason = walk(buffer, from, to, function(number, wire, first, last)
    if number == 1 then
      -- If it comes twice the last one counts, so each has to be offered.
      model = wire == BYTES and buffer:getBytes(first, math.min(last - first, 64)) or ""
      forbidden = forbidden or WORK[model] == nil
    elseif number == 5 and wire == BYTES then
      local refusal, name, shape, found = read_tensor(buffer, first, last)
      objects = math.max(objects, found)
      if name == "point_labels" and #shape == 3 then
        prompts = math.max(prompts, shape[1] * math.min(shape[2], MAX_PROMPTS))
      end
      return refusal
    elseif number == 6 and wire == BYTES then
      return walk(buffer, first, last, function(field, _, start, stop)
        return field == 2 and names_memory(buffer, start, stop) or nil
      end)
    elseif number == 7 and wire == BYTES then
      objects = math.max(objects, read_content(buffer, first, last))
    end
  end)
  if forbidden or model == nil then
    return reason, nil
  end
  local times = model == "slimsam_click" and objects or DECODERS[model] and prompts or 1
  return reason, WORK[model] * times
end

local function refuse(handle, status, text)
  handle:respond({ [":status"] = "400", ["grpc-status"] = GRPC_STATUS[status] }, "edge: " .. text)
end

local function set_work(handle, clicks)
  handle:streamInfo():dynamicMetadata():set("envoy.filters.http.lua", "work", clicks)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local timeout = headers:get("grpc-timeout")
  if timeout ~= nil then
    local digits, unit = timeout:match("^(%d+)([HMSmun])$")
    if digits == nil then
      return refuse(handle, "INVALID_ARGUMENT", "expected a deadline as gRPC writes it")
    elseif tonumber(digits) * SECONDS[unit] < MIN_SECONDS then
      local text = "expected a deadline of " .. MIN_SECONDS .. " s or more"
      return refuse(handle, "DEADLINE_EXCEEDED", text)
    end
  end
  if headers:get(":path") ~= "/inference.GRPCInferenceService/ModelInfer" then
    return set_work(handle, 1)
  end
  -- One message: whether it is compressed, its length in four bytes, and itself.
  local buffer = handle:body(true)
  local size = buffer:length()
  local head = buffer:getBytes(0, math.min(5, size))
  if size < 5 then
    return refuse(handle, "INVALID_ARGUMENT", "expected a message, got " .. size .. " bytes")
  elseif head:byte(1) ~= 0 then
    return refuse(handle, "UNIMPLEMENTED", "expected a message that is not compressed")
  end
  local length = ((head:byte(2) * 256 + head:byte(3)) * 256 + head:byte(4)) * 256 + head:byte(5)
  if size ~= 5 + length then
    return refuse(handle, "INVALID_ARGUMENT", "expected one message")
  end
  -- A request passes when the script fails, so that is caught.
  local done, reason, work = pcall(read_request, buffer, 5, size)
  if not done then
    reason = "a message that is damaged"
  end
  if reason then
    return refuse(handle, "INVALID_ARGUMENT", "expected no such message, got " .. reason)
  elseif work == nil then
    return refuse(handle, "PERMISSION_DENIED", "expected a model that is offered here")
  end
  set_work(handle, work)
end
