-- Health of an ExternalCAIssuance for Argo CD: what kstatus says, and Suspended while it is paused.
local health = { status = "Progressing", message = "Waiting for the operator" }

if obj.spec ~= nil and obj.spec.paused == true then
  return { status = "Suspended", message = "spec.paused is true: nothing is renewed" }
end

if obj.status == nil or obj.status.conditions == nil then
  return health
end

-- A status of an older generation says nothing about this one.
if obj.status.observedGeneration ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the operator to see this generation"
  return health
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  local old = condition.observedGeneration ~= nil and condition.observedGeneration ~= obj.metadata.generation
  if not old then
    conditions[condition.type] = condition
  end
end

local function text(condition)
  return (condition.reason or "") .. ": " .. (condition.message or "")
end

local stalled = conditions["Stalled"]
if stalled ~= nil and stalled.status == "True" then
  return { status = "Degraded", message = text(stalled) }
end

local ready = conditions["Ready"]
if ready ~= nil then
  health.message = text(ready)
  if ready.status == "True" then
    health.status = "Healthy"
  end
end

return health
