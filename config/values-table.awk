# Prints the table of a chart's values: one row for each value that has a comment above it. Understands what
# values.yaml uses: maps of maps, scalars, flow values, and block lists of scalars.

function row() {
	if (key != "") printf "| `%s` | `%s` | %s |\n", key, items != "" ? "[" items "]" : value, description
	key = items = ""
}

BEGIN {
	print "| value | default | what it does |"
	print "|---|---|---|"
}

/^ *$/ { pending = ""; next }

/^ *# / {
	sub(/^ *# /, "")
	pending = pending == "" ? $0 : pending " " $0
	next
}

/^ *- / {
	sub(/^ *- /, "")
	items = items == "" ? $0 : items ", " $0
	next
}

{
	row()
	depth = match($0, /[^ ]/) - 1
	name = value = substr($0, depth + 1)
	sub(/:.*/, "", name)
	sub(/^[^:]*: */, "", value)
	sub(/^[^:]*:$/, "", value)
	path[depth / 2] = name
	if (pending != "") {
		key = path[0]
		for (i = 1; i <= depth / 2; i++) key = key "." path[i]
		description = pending
	}
	pending = ""
}

END { row() }
