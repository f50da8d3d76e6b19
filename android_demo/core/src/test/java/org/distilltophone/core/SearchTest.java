package org.distilltophone.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class SearchTest {
    @Rule public TemporaryFolder folder = new TemporaryFolder();

    private Gallery gallery(byte[][] rows) throws Exception {
        File file = folder.newFile();
        try (GalleryWriter writer = new GalleryWriter(file, Samples.model("a"), rows[0].length)) {
            for (int i = 0; i < rows.length; i++) {
                writer.add("r/" + i, rows[i], null);
            }
            writer.finish();
        }
        return Gallery.open(file);
    }

    private static int dot(byte[] a, byte[] b) {
        int sum = 0;
        for (int d = 0; d < a.length; d++) {
            sum += a[d] * b[d];
        }
        return sum;
    }

    /** By sorting all of some rows. */
    private static void check(byte[][] rows, List<Integer> among, final byte[] query, int k, TopK found) {
        final byte[][] all = rows;
        List<Integer> order = new ArrayList<Integer>(among);
        Collections.sort(order, new Comparator<Integer>() {
            @Override
            public int compare(Integer a, Integer b) {
                int byScore = Integer.compare(dot(all[b], query), dot(all[a], query));
                return byScore != 0 ? byScore : a.compareTo(b);
            }
        });
        assertEquals(Math.min(k, rows.length), found.size());
        for (int i = 0; i < found.size(); i++) {
            assertEquals("result " + i, (int) order.get(i), found.row(i));
            int product = dot(rows[order.get(i)], query);
            assertEquals(product, found.dot(i));
            assertEquals((float) (product * (Int8.SCALE * Int8.SCALE)), found.score(i), 0);
        }
    }

    private static List<Integer> all(int count) {
        List<Integer> out = new ArrayList<Integer>();
        for (int i = 0; i < count; i++) {
            out.add(i);
        }
        return out;
    }

    @Test
    public void bothWaysGiveWhatSortingGives() throws Exception {
        Random random = new Random(7);
        int[][] shapes = {{1, 1}, {3, 2}, {50, 7}, {2048, 16}, {2049, 128}, {5000, 33}, {300, 1024}};
        TopK reuse = new TopK(1);
        for (int[] shape : shapes) {
            byte[][] rows = new byte[shape[0]][];
            for (int i = 0; i < rows.length; i++) {
                // Many equal rows: the order of equal ones shows.
                rows[i] = i % 3 == 2 ? rows[random.nextInt(i)] : Samples.code(shape[1], random);
            }
            try (Gallery gallery = gallery(rows)) {
                FlatIndex lanes = new FlatIndex(gallery, true);
                FlatIndex plain = new FlatIndex(gallery, false);
                for (int q = 0; q < 20; q++) {
                    byte[] query = q % 2 == 0 ? rows[random.nextInt(rows.length)] : Samples.code(shape[1], random);
                    int k = 1 + random.nextInt(30);
                    lanes.search(query, k, reuse);
                    check(rows, all(rows.length), query, k, reuse);
                    plain.search(query, k, reuse);
                    check(rows, all(rows.length), query, k, reuse);
                }
            }
        }
    }

    @Test
    public void rowsLongerThanAnyEmbeddingAreStillExact() throws Exception {
        Random random = new Random(8);
        byte[][] rows = new byte[100][200];
        for (byte[] row : rows) {
            random.nextBytes(row); // lengths around 1,000: products beyond 16 bits
        }
        java.util.Arrays.fill(rows[5], (byte) -128);
        java.util.Arrays.fill(rows[6], (byte) 127);
        TopK found = new TopK(100);
        try (Gallery gallery = gallery(rows)) {
            for (byte[] query : rows) {
                new FlatIndex(gallery, true).search(query, 100, found);
                check(rows, all(100), query, 100, found);
            }
        }
    }

    @Test
    public void candidatesOfThePrefilterAreAllRowsUpToADistance() throws Exception {
        Random random = new Random(9);
        for (int dimension : new int[] {5, 64, 100, 128, 130}) {
            byte[][] rows = new byte[3000][];
            for (int i = 0; i < rows.length; i++) {
                rows[i] = Samples.code(dimension, random);
            }
            try (Gallery gallery = gallery(rows)) {
                PrefilterIndex index = new PrefilterIndex(gallery);
                TopK found = new TopK(10);
                for (int q = 0; q < 10; q++) {
                    byte[] query = Samples.code(dimension, random);
                    for (int k : new int[] {1, 5, 100}) {
                        index.search(query, k, found);
                        check(rows, candidates(rows, query, k), query, k, found);
                    }
                }
            }
        }
    }

    private static List<Integer> candidates(byte[][] rows, byte[] query, int k) {
        int wanted = Math.min(rows.length, Math.max(64 * k, (rows.length + 49) / 50));
        int[] distances = new int[rows.length];
        for (int i = 0; i < rows.length; i++) {
            for (int d = 0; d < query.length; d++) {
                distances[i] += (rows[i][d] >= 0) != (query[d] >= 0) ? 1 : 0;
            }
        }
        int[] sorted = distances.clone();
        java.util.Arrays.sort(sorted);
        List<Integer> out = new ArrayList<Integer>();
        for (int i = 0; i < rows.length; i++) {
            if (distances[i] <= sorted[wanted - 1]) {
                out.add(i);
            }
        }
        return out;
    }

    @Test
    public void nothingIsAllocatedPerQuery() throws Exception {
        Random random = new Random(10);
        byte[][] rows = new byte[6000][];
        for (int i = 0; i < rows.length; i++) {
            rows[i] = Samples.code(128, random);
        }
        TopK reuse = new TopK(20);
        byte[] query = Samples.code(128, random);
        com.sun.management.ThreadMXBean threads =
            (com.sun.management.ThreadMXBean) java.lang.management.ManagementFactory.getThreadMXBean();
        long me = Thread.currentThread().getId();
        try (Gallery gallery = gallery(rows)) {
            Index[] all = {new FlatIndex(gallery, true), new FlatIndex(gallery, false), new PrefilterIndex(gallery)};
            for (Index index : all) {
                index.search(query, 20, reuse);
                long before = threads.getThreadAllocatedBytes(me);
                for (int i = 0; i < 100; i++) {
                    index.search(query, 20, reuse);
                }
                long allocated = threads.getThreadAllocatedBytes(me) - before;
                assertTrue(index.getClass() + " allocated " + allocated, allocated < 1000);
            }
        }
    }

    @Test
    public void wrongQueriesAreRefused() throws Exception {
        try (Gallery gallery = gallery(new byte[][] {{1, 2}})) {
            for (Index index : new Index[] {new FlatIndex(gallery), new PrefilterIndex(gallery)}) {
                try {
                    index.search(new byte[3], 1, new TopK(1));
                    throw new AssertionError("taken");
                } catch (IllegalArgumentException expected) {
                    assertTrue(expected.getMessage().contains("3"));
                }
            }
        }
    }
}
