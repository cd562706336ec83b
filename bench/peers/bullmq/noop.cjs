// What a sandboxed job runs.
module.exports = async () => null;
