// Numbers as people read them. durations.py writes the same for the terminal.

export function seconds(value) {
  if (value < 1) return `${Math.round(Math.max(value, 0) * 1000)} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  const [whole, part, names] = value < 3600 ? [60, 1, "min s"] : value < 86400 ? [3600, 60, "h min"] : [86400, 3600, "d h"];
  const [name, partName] = names.split(" ");
  return `${Math.floor(value / whole)} ${name} ${Math.floor((value % whole) / part)} ${partName}`;
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

export function counted(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

export function clock(unixTime) {
  return new Date(unixTime * 1000).toLocaleTimeString("en-GB");
}
