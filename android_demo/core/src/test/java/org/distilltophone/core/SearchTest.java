package org.distilltophone.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import org.junit.Test;

public class SearchTest {
    private static Gallery gallery(byte[][] rows) throws Exception {
        GalleryFile file = new GalleryFile(Samples.sha256("a"), rows[0].length);
        for (int i = 0; i < rows.length; i++) {
            file.add("r/" + i, rows[i], null);
        }
        return file.open();
    }

    private static int dot(byte[] a, byte[] b) {
        int sum = 0;
        for (int d = 0; d < a.length; d++) {
            sum += a[d] * b[d];
        }
        return sum;
    }

    /** Compares with a search that sorts all rows. */
    private static void check(final byte[][] rows, final byte[] query, int k, TopK found) {
        List<Integer> order = new ArrayList<Integer>();
        for (int i = 0; i < rows.length; i++) {
            order.add(i);
        }
        Collections.sort(order, new Comparator<Integer>() {
            @Override
            public int compare(Integer a, Integer b) {
                int byScore = Integer.compare(dot(rows[b], query), dot(rows[a], query));
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

    @Test
    public void searchFindsWhatSortingFinds() throws Exception {
        Random random = new Random(7);
        int[][] shapes = {{1, 1}, {3, 2}, {50, 7}, {2048, 16}, {2049, 128}, {5000, 33}, {300, 1024}};
        TopK reuse = new TopK(1);
        for (int[] shape : shapes) {
            byte[][] rows = new byte[shape[0]][];
            for (int i = 0; i < rows.length; i++) {
                // Many equal rows, so that the order of ties shows.
                rows[i] = i % 3 == 2 ? rows[random.nextInt(i)] : Samples.code(shape[1], random);
            }
            FlatIndex index = new FlatIndex(gallery(rows));
            for (int q = 0; q < 20; q++) {
                byte[] query = q % 2 == 0 ? rows[random.nextInt(rows.length)] : Samples.code(shape[1], random);
                int k = 1 + random.nextInt(30);
                index.search(query, k, reuse);
                check(rows, query, k, reuse);
            }
        }
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
        FlatIndex index = new FlatIndex(gallery(rows));
        index.search(query, 20, reuse);
        long before = threads.getThreadAllocatedBytes(me);
        for (int i = 0; i < 100; i++) {
            index.search(query, 20, reuse);
        }
        long allocated = threads.getThreadAllocatedBytes(me) - before;
        assertTrue("allocated " + allocated, allocated < 1000);
    }

    @Test
    public void aQueryOfAnotherDimensionIsRefused() throws Exception {
        try {
            new FlatIndex(gallery(new byte[][] {{1, 2}})).search(new byte[3], 1, new TopK(1));
            throw new AssertionError("taken");
        } catch (IllegalArgumentException expected) {
            assertTrue(expected.getMessage().contains("3"));
        }
    }
}
