-- Run by `make verify` with gopher-lua, the Lua of Argo CD: glua health_test.lua, in this folder.
local check = assert(loadfile("health.lua"))
local failures = 0

local function expect(name, object, status, message)
  object.metadata = { generation = 2 }
  obj = object
  local got = check()
  if got.status ~= status or (message ~= nil and got.message ~= message) then
    failures = failures + 1
    print(name .. ": want " .. status .. ", got " .. tostring(got.status) .. " (" .. tostring(got.message) .. ")")
  end
end

local function condition(type, status, reason, generation)
  return { type = type, status = status, reason = reason, message = "why", observedGeneration = generation or 2 }
end

local function at(generation, ...)
  return { spec = {}, status = { observedGeneration = generation, conditions = { ... } } }
end

expect("new", { spec = {} }, "Progressing")
expect("status without conditions", { spec = {}, status = {} }, "Progressing")
expect("ready", at(2, condition("Ready", "True", "Ready")), "Healthy", "Ready: why")
expect("not ready", at(2, condition("Ready", "False", "Issuing")), "Progressing", "Issuing: why")
expect("unknown", at(2, condition("Ready", "Unknown", "Issuing")), "Progressing")
expect("stalled", at(2, condition("Ready", "False", "X"), condition("Stalled", "True", "KeyMismatch")), "Degraded", "KeyMismatch: why")
expect("no longer stalled", at(2, condition("Stalled", "False", "X"), condition("Ready", "True", "Ready")), "Healthy")
expect("reconciling and ready", at(2, condition("Reconciling", "True", "X"), condition("Ready", "True", "Ready")), "Healthy")
expect("ready for an older spec", at(1, condition("Ready", "True", "Ready", 1)), "Progressing")
expect("stalled for an older spec", at(1, condition("Stalled", "True", "X", 1)), "Progressing")
expect("one condition is older", at(2, condition("Stalled", "True", "X", 1), condition("Ready", "True", "Ready")), "Healthy")

local paused = at(2, condition("Ready", "True", "Ready"))
paused.spec.paused = true
expect("paused", paused, "Suspended")
paused.spec.paused = false
expect("not paused", paused, "Healthy")

if failures > 0 then
  error(failures .. " health checks are wrong")
end
print("health.lua: all as wanted")
