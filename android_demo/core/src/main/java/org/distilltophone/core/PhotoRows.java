package org.distilltophone.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** In-memory state of {@link PhotoIndex}: all photos by id, and the rows of those that can be found. Not thread-safe. */
final class PhotoRows {
    private static final int BLOCK = 1024; // rows; growing does not copy rows

    /** A photo. */
    static final class Entry {
        final String id;
        long stamp;
        /** Row of the photo; -1 if it has none. */
        int row = -1;
        boolean skipped;
        /** Number of times that processing began but did not end. */
        int attempts;

        Entry(String id) {
            this.id = id;
        }
    }

    private final int dimension;
    private final Map<String, Entry> entries = new HashMap<String, Entry>();
    private final List<byte[]> blocks = new ArrayList<byte[]>();
    private final List<Entry> byRow = new ArrayList<Entry>();
    private final TopK top = new TopK(64);
    private int skipped;

    PhotoRows(int dimension) {
        this.dimension = dimension;
    }

    int count() {
        return byRow.size();
    }

    int skipped() {
        return skipped;
    }

    Entry get(String id) {
        return entries.get(id);
    }

    /** Returns a copy of the list of all photos. */
    List<Entry> all() {
        return new ArrayList<Entry>(entries.values());
    }

    /** Applies a record of the log. */
    void apply(int type, String id, long stamp, byte[] row) {
        Entry entry = entries.get(id);
        if (type == PhotoLog.REMOVED) {
            if (entry != null) {
                clear(entry);
                entries.remove(id);
            }
            return;
        }
        if (entry == null) {
            entry = new Entry(id);
            entries.put(id, entry);
        }
        if (type == PhotoLog.ATTEMPT) {
            entry.attempts = entry.stamp == stamp || entry.attempts == 0 ? entry.attempts + 1 : 1;
            clear(entry);
            entry.stamp = stamp;
            return;
        }
        clear(entry);
        entry.attempts = 0;
        entry.stamp = stamp;
        if (type == PhotoLog.SKIPPED) {
            entry.skipped = true;
            skipped++;
        } else {
            entry.row = byRow.size();
            byRow.add(entry);
            if (blocks.size() * BLOCK <= entry.row) {
                blocks.add(new byte[BLOCK * dimension]);
            }
            System.arraycopy(row, 0, blocks.get(entry.row / BLOCK), entry.row % BLOCK * dimension, dimension);
        }
    }

    /** Removes the row of a photo; the last row moves into the gap. */
    private void clear(Entry entry) {
        if (entry.skipped) {
            entry.skipped = false;
            skipped--;
        }
        if (entry.row < 0) {
            return;
        }
        Entry last = byRow.remove(byRow.size() - 1);
        if (last != entry) {
            System.arraycopy(blocks.get(last.row / BLOCK), last.row % BLOCK * dimension,
                blocks.get(entry.row / BLOCK), entry.row % BLOCK * dimension, dimension);
            byRow.set(entry.row, last);
            last.row = entry.row;
        }
        entry.row = -1;
    }

    void row(int row, byte[] into) {
        System.arraycopy(blocks.get(row / BLOCK), row % BLOCK * dimension, into, 0, dimension);
    }

    List<Match> search(byte[] query, int k) {
        FlatIndex.checkQuery(query, dimension);
        top.start(k);
        for (int row = 0; row < byRow.size(); row++) {
            int dot = FlatIndex.dot(blocks.get(row / BLOCK), row % BLOCK * dimension, query);
            if (dot > top.threshold()) {
                top.offer(row, dot);
            }
        }
        List<Match> out = new ArrayList<Match>(top.size());
        for (int i = 0; i < top.size(); i++) {
            out.add(new Match(byRow.get(top.row(i)).id, top.score(i)));
        }
        return Collections.unmodifiableList(out);
    }
}
